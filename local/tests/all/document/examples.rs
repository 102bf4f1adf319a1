//! The examples of the document are real: a story that goes from sign-up to a broken database sends each of
//! its requests and gets each of its answers.

use std::{cell::RefCell, collections::BTreeSet, net::TcpListener};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::world::{Answer, DOCUMENT, Door, PASSWORD, Part, Person, Request, World, pair};

/// What no story brings about: these answers go to a client that breaks off, or takes longer than a test may.
const UNSEEN: [&str; 2] = [
    "/components/responses/SlowBody/content/application~1json/example",
    "/components/responses/UnreadableBody/content/application~1json/example",
];

/// A world, and the pointers of the examples that were seen in it.
struct Story {
    world: World,
    seen: RefCell<BTreeSet<String>>,
}

#[test]
fn each_example_is_what_its_schema_allows() {
    let mut examples = 0;
    visit(&DOCUMENT.root(), &mut |part| {
        for example in part.examples() {
            assert_eq!(
                part.faults(example.value, true),
                Vec::<String>::new(),
                "{example}"
            );
            examples += 1;
        }
    });
    assert!(examples > 60, "{examples}");
}

#[tokio::test]
async fn each_example_is_a_real_answer() {
    let world = World::with(Door::Event, |config| config.sign_ups_per_hour = 4).await;
    let mut story = Story {
        world,
        seen: RefCell::default(),
    };
    let ann = story.signs_up_and_logs_in().await;
    let ben = story.world.join("ben").await;
    story.shows_accounts(&ann).await;
    story.writes_and_votes(&ann, &ben).await;
    story.refuses_what_makes_no_sense(&ann).await;
    story.ends_sessions(&ann, &ben).await;
    story.limits_attempts().await;
    story.breaks_down().await;

    let mut told: BTreeSet<String> = UNSEEN.map(str::to_owned).into();
    told.append(story.seen.get_mut());
    let mut listed = BTreeSet::new();
    visit(&DOCUMENT.root(), &mut |part| {
        if part.pointer().contains("/content/") {
            listed.extend(part.examples().iter().map(ToString::to_string));
        }
    });
    let unheard: Vec<_> = listed.difference(&told).collect();
    assert!(unheard.is_empty(), "{unheard:#?}");
}

impl Story {
    /// Sends a request and compares the answer with the example of this name; `""` where there is just one.
    async fn tells(&self, status: u16, name: &str, request: Request) -> Answer {
        let answer = self.world.send(request.clone()).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{} {}: {}",
            request.method,
            request.target,
            answer.text()
        );
        let response = DOCUMENT.response(&request, &answer).unwrap();
        let media = response.at(&["content", "application/json"]).unwrap();
        let example = media.example(name);
        assert_eq!(
            settled(answer.json()),
            settled(example.value.clone()),
            "{example}"
        );
        self.seen.borrow_mut().insert(example.to_string());
        answer
    }

    /// A request with the body that is the document's example for it.
    fn asks(&self, method: &str, path: &str, name: &str) -> Request {
        let operation = DOCUMENT.operation(method, path).unwrap();
        let content = operation.at(&["requestBody", "content"]).unwrap();
        let (content_type, media) = content.members().next().unwrap();
        let example = media.example(name);
        self.seen.borrow_mut().insert(example.to_string());
        let request = Request::new(method, &path.replace("{id}", "1"));
        if content_type == "application/json" {
            return request.json(example.value);
        }
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let fields = example.value.as_object().unwrap().iter();
        let form =
            fields.map(|(name, value)| format!("{name}={}", encode(value.as_str().unwrap())));
        request.form(&form.collect::<Vec<_>>().join("&"))
    }

    async fn signs_up_and_logs_in(&self) -> Person {
        let user = self.tells(201, "", self.asks("POST", "/users/", "")).await;
        self.tells(409, "", self.asks("POST", "/users/", "")).await;
        let sessions = DOCUMENT.operation("GET", "/auth/sessions").unwrap();
        let sessions = sessions
            .at(&["responses", "200", "content", "application/json"])
            .unwrap();
        let user_agent = sessions.example("").value[0]["user_agent"]
            .as_str()
            .unwrap();
        let login = self
            .asks("POST", "/auth/login", "")
            .header("user-agent", user_agent);
        let (access_token, refresh_token) = pair(&self.tells(200, "", login).await);
        let wrong = Request::post("/auth/login").form("username=ann%40example.com&password=wrong");
        self.tells(401, "", wrong).await;
        self.tells(
            200,
            "",
            Request::get("/auth/sessions").bearer(&access_token),
        )
        .await;
        let presented = json!({ "refresh_token": refresh_token });
        let refresh = Request::post("/auth/refresh").json(&presented);
        let (access_token, refresh_token) = pair(&self.tells(200, "", refresh).await);
        Person {
            id: user.json()["id"].as_i64().unwrap(),
            email: "ann@example.com".to_owned(),
            created_at: user.json()["created_at"].as_str().unwrap().to_owned(),
            access_token,
            refresh_token,
        }
    }

    async fn shows_accounts(&self, ann: &Person) {
        let anns = |request: Request| request.bearer(&ann.access_token);
        self.tells(200, "to the owner", anns(Request::get("/users/1")))
            .await;
        self.tells(200, "to everyone else", Request::get("/users/1"))
            .await;
        self.tells(404, "", Request::get("/users/77")).await;
        self.tells(200, "", anns(Request::get("/users/me"))).await;
        self.tells(401, "none", Request::get("/users/me")).await;
        self.tells(401, "bad", Request::get("/users/me").bearer("bad"))
            .await;
        self.tells(401, "", Request::get("/users/1").bearer("bad"))
            .await;
    }

    async fn writes_and_votes(&self, ann: &Person, ben: &Person) {
        let anns = |request: Request| request.bearer(&ann.access_token);
        let post = self
            .tells(201, "", anns(self.asks("POST", "/posts/", "")))
            .await;
        assert_eq!(post.location("/posts/"), "/posts/1");
        self.tells(201, "added", anns(self.asks("POST", "/vote/", "add")))
            .await;
        self.tells(409, "", anns(self.asks("POST", "/vote/", "add")))
            .await;
        self.tells(200, "", Request::get("/posts/")).await;
        self.tells(200, "", Request::get("/posts/1")).await;
        self.tells(201, "removed", anns(self.asks("POST", "/vote/", "remove")))
            .await;
        self.tells(404, "no vote", anns(self.asks("POST", "/vote/", "remove")))
            .await;
        self.tells(404, "no post", ann.ballot(77, 1)).await;
        self.tells(404, "", Request::get("/posts/77")).await;
        self.tells(
            403,
            "",
            Request::delete("/posts/1").bearer(&ben.access_token),
        )
        .await;
        self.tells(200, "", anns(self.asks("PUT", "/posts/{id}", "")))
            .await;
    }

    async fn refuses_what_makes_no_sense(&self, ann: &Person) {
        let anns = |request: Request| request.bearer(&ann.access_token);
        self.tells(404, "", Request::get("/nothing")).await;
        self.tells(405, "", Request::new("PATCH", "/posts")).await;
        self.tells(
            413,
            "",
            Request::post("/users/").json_text(&" ".repeat(8193)),
        )
        .await;
        let text = Request::post("/users/")
            .header("content-type", "text/plain")
            .body("{}");
        self.tells(415, "", text).await;
        let fields = json!({ "title": "", "is_published": "yes" });
        self.tells(422, "fields", anns(Request::post("/posts/").json(&fields)))
            .await;
        let values = json!({ "email": "ann", "password": "password" });
        self.tells(422, "values", Request::post("/users/").json(&values))
            .await;
        self.tells(
            422,
            "syntax",
            Request::post("/users/").json_text(r#"{"email": "ann""#),
        )
        .await;
        self.tells(422, "path", Request::get("/posts/x")).await;
        self.tells(422, "query", Request::get("/posts/?limit=101"))
            .await;
    }

    async fn ends_sessions(&self, ann: &Person, ben: &Person) {
        let anns = |request: Request| request.bearer(&ann.access_token);
        let bens = |request: Request| request.bearer(&ben.access_token);
        self.tells(404, "", anns(Request::delete("/auth/sessions/77")))
            .await;
        let wrong = json!({ "password": "wrong" });
        self.tells(403, "", anns(Request::delete("/users/me").json(&wrong)))
            .await;
        self.tells(200, "", anns(self.asks("PUT", "/users/me/password", "")))
            .await;
        // The token of the example is nobody's.
        self.tells(401, "", self.asks("POST", "/auth/refresh", ""))
            .await;
        self.tells(404, "", self.asks("POST", "/auth/logout", ""))
            .await;
        let token = json!({ "refresh_token": ann.refresh_token });
        self.tells(200, "", Request::post("/auth/logout").json(&token))
            .await;
        self.tells(200, "", bens(Request::post("/auth/logout-all")))
            .await;
        let (access_token, _) = pair(&self.world.log_in("ben@example.com", PASSWORD).await);
        let farewell = self.asks("DELETE", "/users/me", "").bearer(&access_token);
        assert_eq!(self.world.send(farewell).await.status, 204);
    }

    async fn limits_attempts(&self) {
        let sign_up = |name: &str| {
            let account = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
            Request::post("/users/").json(&account)
        };
        assert_eq!(self.world.send(sign_up("carl")).await.status, 201);
        self.tells(429, "", sign_up("dora")).await;
        let wrong =
            || Request::post("/auth/login").form("username=carl%40example.com&password=wrong");
        for _ in 0..10 {
            assert_eq!(self.world.send(wrong()).await.status, 401);
        }
        self.tells(429, "", wrong()).await;
    }

    async fn breaks_down(&mut self) {
        self.tells(200, "", Request::get("/")).await;
        self.tells(200, "", Request::get("/health")).await;
        let history = "delete from refinery_schema_history";
        self.world.sql.batch_execute(history).await.unwrap();
        self.tells(503, "behind", Request::get("/health")).await;
        self.world
            .sql
            .batch_execute("drop table posts cascade")
            .await
            .unwrap();
        self.tells(500, "", Request::get("/posts/1")).await;
        let nobody_listens = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let database = self.world.config.database.as_mut().unwrap();
        database.port = nobody_listens.port();
        self.world.reopen(Door::Event).await;
        self.tells(503, "away", Request::get("/health")).await;
        self.tells(503, "", Request::get("/posts/1")).await;
    }
}

/// An answer without what is new each time.
fn settled(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_new = name.ends_with("_at")
                    || ["access_token", "refresh_token"].contains(&name.as_str());
                *member = if is_new {
                    Value::Null
                } else {
                    settled(member.take())
                };
            }
        }
        Value::Array(elements) => {
            for element in elements {
                *element = settled(element.take());
            }
        }
        _ => {}
    }
    value
}

/// Every part of the document, without what it refers to.
fn visit(part: &Part<'_>, seen: &mut impl FnMut(&Part<'_>)) {
    seen(part);
    for inner in part.inner() {
        visit(&inner, seen);
    }
}

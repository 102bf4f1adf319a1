//! Three processes behind a pooler that keeps nothing of a session apart: each request runs its own statement, for its
//! own user.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Program, Served};
use crate::world::{Answer, Door, PASSWORD, Person, Pooler, Request, SECRET_KEY, World, pair};

/// How many people only read and write, and must stay logged in.
const STAYING: usize = 12;
const ROUNDS: i64 = 4;

/// What an answer must be.
struct Expected {
    status: u16,
    /// What of its body is known before.
    part: Option<(&'static str, Value)>,
}

fn expect(status: u16) -> Expected {
    Expected { status, part: None }
}

impl Expected {
    fn with(mut self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.part = Some((pointer, value.into()));
        self
    }

    #[track_caller]
    fn check(&self, asked: &str, answer: &Answer) {
        let text = answer.text();
        assert_eq!(answer.status.as_u16(), self.status, "{asked}: {text}");
        if let Some((pointer, value)) = &self.part {
            let body = answer.json();
            assert_eq!(body.pointer(pointer), Some(value), "{asked}: {body}");
        }
    }
}

/// What one person asks at once in a round, and what comes of it. `post` is everybody's.
fn asked_by(person: &Person, post: i64, round: i64) -> Vec<(Request, Expected)> {
    let title = format!("{} in round {round}", person.email);
    let new = json!({ "title": title, "content": "content" });
    let (message, dir) = if round % 2 == 0 {
        ("Successfully added vote", 1)
    } else {
        ("Successfully removed vote", 0)
    };
    let me = || Request::get("/users/me").bearer(&person.access_token);
    let known = || expect(200).with("/email", person.email.clone());
    vec![
        (me(), known()),
        (
            person.ballot(post, dir),
            expect(201).with("/message", message),
        ),
        (
            Request::post("/posts/")
                .bearer(&person.access_token)
                .json(&new),
            expect(201).with("/title", title),
        ),
        (
            Request::get(&format!("/posts/{post}")).bearer(&person.access_token),
            expect(200).with("/Post/id", post),
        ),
        (Request::get("/posts/?limit=3"), expect(200)),
        (
            Request::get("/auth/sessions").bearer(&person.access_token),
            // Sessions without a refresh token are not listed.
            expect(200).with("", json!([])),
        ),
        (
            Request::get(&format!("/users/{}", person.id)),
            expect(200).with("/id", person.id),
        ),
        (
            Request::get("/posts/?search=everybody"),
            expect(200).with("/0/Post/id", post),
        ),
        (
            Request::post("/auth/logout").json(&json!({ "refresh_token": "unknown" })),
            expect(404).with("/detail", "Refresh token not found"),
        ),
        (me(), known()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_with_two_server_connections_run_their_own_statements() {
    let world = World::new(Door::Event).await;
    let people = world.crowd(i64::try_from(STAYING).unwrap()).await;
    let post = people[0].publishes(&world, "everybody's").await;
    let mut database = world.database().clone();
    let _pooler = Pooler::before(&mut database, 2).await;
    let mut processes = Vec::new();
    for name in ["one", "two", "three"] {
        let program = Program::new(&format!("pooled-{name}"))
            .with_database(&database)
            .set("SECRET_KEY", SECRET_KEY);
        processes.push((program.serve(&[]).await, program));
    }
    let leaver = world.join("leaver").await;

    for round in 0..ROUNDS {
        // Somebody ends all their sessions meanwhile, at each process.
        let mut leavers = Vec::new();
        for _ in &processes {
            leavers.push(world.log_in_again(&leaver).await);
        }
        let of_people = people
            .iter()
            .flat_map(|person| asked_by(person, post, round));
        let everybody = of_people
            .enumerate()
            .map(|(number, case)| (number % 3, case));
        let leave = leavers
            .iter()
            .enumerate()
            .map(|(number, (access_token, _))| {
                let request = Request::post("/auth/logout-all").bearer(access_token);
                (number, (request, expect(200)))
            });
        let answers = join_all(everybody.chain(leave).map(
            async |(number, (request, expected))| {
                let (served, _): &(Served, Program) = &processes[number];
                let asked = format!("round {round}, {} {}", request.method, request.target);
                (asked, expected, served.send(request).await)
            },
        ))
        .await;
        for (asked, expected, answer) in &answers {
            // Of those who leave at once, the first takes the others along.
            if asked.ends_with("/auth/logout-all") && answer.status == 401 {
                continue;
            }
            expected.check(asked, answer);
        }
        for (access_token, _) in &leavers {
            assert!(!world.accepts(access_token).await);
        }
        for person in &people {
            assert!(
                world.accepts(&person.access_token).await,
                "{}",
                person.email
            );
        }
        world.assert_counts_are_exact().await;
    }
    assert_eq!(world.votes(post).await, 0);
    let staying = i64::try_from(STAYING).unwrap();
    assert_eq!(world.number("select count(*) from sessions").await, staying);
    assert_eq!(
        world.number("select count(*) from posts").await,
        staying * ROUNDS + 1
    );

    // Logins and refreshes too, each by another process than the one before.
    let login = crate::world::credentials(&leaver.email, PASSWORD);
    let (_, mut token) = pair(&processes[0].0.send(login).await);
    for turn in 0..9 {
        let refresh = Request::post("/auth/refresh").json(&json!({ "refresh_token": token }));
        (_, token) = pair(&processes[turn % 3].0.send(refresh).await);
    }
    for (served, _program) in processes {
        let said = served.stop().await;
        assert!(!said.contains("ERROR"), "{said}");
    }
}

//! People: they have an account and a session, and they write and vote.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shared::{caller::unix_now, tokens::Keys};
use tokio_postgres::Row;

use super::{Answer, Request, World};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "opal-lantern-42";

/// Somebody with an account and a live session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) created_at: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl World {
    /// Somebody signs up as `<name>@example.com` and logs in.
    pub(crate) async fn join(&self, name: &str) -> Person {
        let email = format!("{name}@example.com");
        let user = self.sign_up(&email, PASSWORD).await;
        assert_eq!(user.status, 201, "{}", user.text());
        let user = user.json();
        let (access_token, refresh_token) = pair(&self.log_in(&email, PASSWORD).await);
        Person {
            id: user["id"].as_i64().unwrap(),
            email,
            created_at: user["created_at"].as_str().unwrap().to_owned(),
            access_token,
            refresh_token,
        }
    }

    /// So many people, called `person-0@example.com` and so on, with accounts and sessions made by SQL: nobody
    /// of them has a password or a refresh token.
    pub(crate) async fn crowd(&self, size: i64) -> Vec<Person> {
        let insert = "
            with people as (
                insert into users (email, password_hash, created_at)
                select format('person-%s@example.com', number), '', '2026-02-01T10:00:00Z'
                from generate_series(0, $1::bigint - 1) as number
                returning id, email)
            insert into sessions (user_id, expires_at)
            select id, now() + interval '1 hour' from people order by id
            returning user_id, id, (select email from people where people.id = user_id)";
        let keys = Keys::new(&self.config.signing).set().await.unwrap();
        let person = |row: &Row| Person {
            id: row.get(0),
            email: row.get(2),
            created_at: "2026-02-01T10:00:00Z".to_owned(),
            access_token: keys
                .sign_access_token(row.get(0), row.get(1), unix_now(), 3600)
                .unwrap(),
            refresh_token: String::new(),
        };
        self.rows(insert, &[&size])
            .await
            .iter()
            .map(person)
            .collect()
    }

    pub(crate) async fn sign_up(&self, email: &str, password: &str) -> Answer {
        self.post("/users/", json!({ "email": email, "password": password }))
            .await
    }

    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Answer {
        self.send(credentials(username, password)).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/auth/refresh", json!({ "refresh_token": refresh_token }))
            .await
    }

    pub(crate) async fn log_out(&self, refresh_token: &str) -> Answer {
        self.post("/auth/logout", json!({ "refresh_token": refresh_token }))
            .await
    }

    /// Somebody logs in once more, on another device: access token and refresh token.
    pub(crate) async fn log_in_again(&self, person: &Person) -> (String, String) {
        pair(&self.log_in(&person.email, PASSWORD).await)
    }

    /// Whether an access token is still accepted.
    pub(crate) async fn accepts(&self, access_token: &str) -> bool {
        let answer = self
            .send(Request::get("/posts/?limit=0").bearer(access_token))
            .await;
        match answer.status.as_u16() {
            200 => true,
            401 => false,
            _ => panic!("{}", answer.text()),
        }
    }
}

/// The access token and the refresh token of a good login or refresh.
#[track_caller]
pub(crate) fn pair(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let pair = answer.json();
    let token = |name: &str| pair[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

/// Asserts that an answer is a token pair and nothing else, kept by nobody: its access token and refresh token.
#[track_caller]
pub(crate) fn assert_pair(answer: &Answer) -> (String, String) {
    let (access_token, refresh_token) = pair(answer);
    answer.assert(
        200,
        &json!({
            "access_token": access_token,
            "refresh_token": refresh_token,
            "token_type": "bearer",
            "expires_in": 1800,
        }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    (access_token, refresh_token)
}

/// A login as a request.
pub(crate) fn credentials(username: &str, password: &str) -> Request {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Request::post("/auth/login").form(&format!(
        "username={}&password={}",
        encode(username),
        encode(password)
    ))
}

impl Person {
    /// Writes a post that everybody sees, and returns its id.
    pub(crate) async fn publishes(&self, world: &World, title: &str) -> i64 {
        self.writes(world, json!({ "title": title, "content": "content" }))
            .await
    }

    /// Writes a post that nobody else sees, and returns its id.
    pub(crate) async fn drafts(&self, world: &World, title: &str) -> i64 {
        self.writes(
            world,
            json!({ "title": title, "content": "content", "is_published": false }),
        )
        .await
    }

    async fn writes(&self, world: &World, post: Value) -> i64 {
        let answer = world
            .send(
                Request::post("/posts/")
                    .bearer(&self.access_token)
                    .json(&post),
            )
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_i64().unwrap()
    }

    /// A vote as a request: `dir` 1 adds, 0 removes.
    pub(crate) fn ballot(&self, post_id: i64, dir: i64) -> Request {
        Request::post("/vote/")
            .bearer(&self.access_token)
            .json(&json!({ "post_id": post_id, "dir": dir }))
    }

    /// The person as others see them.
    pub(crate) fn masked(&self) -> Value {
        let first = self.email.chars().next().unwrap();
        json!({ "id": self.id, "email": format!("{first}***@example.com"), "created_at": self.created_at })
    }

    /// The person as they see themselves.
    pub(crate) fn whole(&self) -> Value {
        json!({ "id": self.id, "email": self.email, "created_at": self.created_at })
    }
}

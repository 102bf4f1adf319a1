//! Two minutes of everything at once: nothing fails, nothing deadlocks, and all that is counted is exact.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use super::{Program, Served};
use crate::world::{Answer, Door, PASSWORD, Request, SECRET_KEY, World, credentials, pair};

const CLIENTS: usize = 26;
const LASTS: Duration = Duration::from_mins(2);
/// So many of the newest posts are voted for.
const POPULAR: usize = 5;

/// What all clients share.
struct Load<'a> {
    served: &'a Served,
    posts: Mutex<VecDeque<i64>>,
    answers: Mutex<BTreeMap<(String, u16), usize>>,
}

/// Somebody with an account, who uses the tokens that they were given last.
struct Client {
    email: String,
    access_token: String,
    refresh_token: String,
    own_posts: Vec<i64>,
}

impl Load<'_> {
    /// Sends a request, and fails where the answer is none of these.
    async fn send(&self, what: &str, request: Request, allowed: &[u16]) -> Answer {
        let answer = self.served.send(request).await;
        let status = answer.status.as_u16();
        assert!(
            allowed.contains(&status),
            "{what}: {status} {}",
            answer.text()
        );
        let mut answers = self.answers.lock().unwrap();
        *answers.entry((what.to_owned(), status)).or_default() += 1;
        answer
    }

    async fn join(&self, email: String) -> Client {
        let account = json!({ "email": email, "password": PASSWORD });
        let request = Request::post("/users/").json(&account);
        self.send("sign up", request, &[201]).await;
        let login = self
            .send("log in", credentials(&email, PASSWORD), &[200])
            .await;
        let (access_token, refresh_token) = pair(&login);
        Client {
            email,
            access_token,
            refresh_token,
            own_posts: Vec::new(),
        }
    }

    fn popular(&self, turn: usize) -> Option<i64> {
        let posts = self.posts.lock().unwrap();
        posts.get(turn % posts.len().max(1)).copied()
    }

    async fn turn(&self, client: &mut Client, number: usize, turn: usize) {
        let by = |request: Request| request.bearer(&client.access_token);
        match (turn * 7 + number * 5) % 16 {
            step @ 0..=6 => {
                let Some(post) = self.popular(turn + number) else {
                    return;
                };
                let ballot = json!({ "post_id": post, "dir": i64::from(step < 4) });
                let request = by(Request::post("/vote/").json(&ballot));
                self.send("vote", request, &[201, 404, 409]).await;
            }
            7 | 8 => {
                let post = json!({ "title": format!("{number} writes {turn}"), "content": "text" });
                let request = by(Request::post("/posts/").json(&post));
                let answer = self.send("write", request, &[201]).await;
                let id = answer.json()["id"].as_i64().unwrap();
                client.own_posts.push(id);
                let mut posts = self.posts.lock().unwrap();
                posts.push_front(id);
                posts.truncate(POPULAR);
            }
            9 => {
                if let Some(id) = client.own_posts.pop() {
                    let request = by(Request::delete(&format!("/posts/{id}")));
                    self.send("delete", request, &[204]).await;
                }
            }
            10 | 11 => {
                let token = json!({ "refresh_token": client.refresh_token });
                let request = Request::post("/auth/refresh").json(&token);
                let answer = self.send("refresh", request, &[200]).await;
                (client.access_token, client.refresh_token) = pair(&answer);
            }
            12 if turn.is_multiple_of(5) => {
                let login = credentials(&client.email, PASSWORD);
                let answer = self.send("log in", login, &[200]).await;
                (client.access_token, client.refresh_token) = pair(&answer);
            }
            13 if turn.is_multiple_of(9) && number.is_multiple_of(3) => {
                let password = json!({ "password": PASSWORD });
                let request = by(Request::delete("/users/me").json(&password));
                self.send("leave", request, &[204]).await;
                *client = self
                    .join(format!("client-{number}-{turn}@example.com"))
                    .await;
            }
            14 if turn.is_multiple_of(7) => {
                let request = by(Request::post("/auth/logout-all"));
                self.send("log out", request, &[200]).await;
                let login = credentials(&client.email, PASSWORD);
                let answer = self.send("log in", login, &[200]).await;
                (client.access_token, client.refresh_token) = pair(&answer);
            }
            _ => {
                self.send("list", by(Request::get("/posts/")), &[200]).await;
                self.send("search", Request::get("/posts/?search=it"), &[200])
                    .await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_six_clients_for_two_minutes_leave_no_fault() {
    let world = World::new(Door::Event).await;
    let program = Program::new("load")
        .with_database(world.database())
        .set("SECRET_KEY", SECRET_KEY)
        .set("SIGN_UPS_PER_HOUR", "0");
    let served = program.serve(&[]).await;
    let load = Load {
        served: &served,
        posts: Mutex::default(),
        answers: Mutex::default(),
    };
    let end = Instant::now() + LASTS;
    join_all((0..CLIENTS).map(async |number| {
        let mut client = load.join(format!("client-{number}@example.com")).await;
        let mut turn = 0;
        while Instant::now() < end {
            load.turn(&mut client, number, turn).await;
            turn += 1;
        }
    }))
    .await;

    let answers = load.answers.into_inner().unwrap();
    // Everything was done, and often.
    for what in [
        "vote", "write", "delete", "refresh", "log in", "leave", "log out", "search",
    ] {
        let done: usize = answers
            .iter()
            .filter(|((name, _), _)| name == what)
            .map(|(_, times)| times)
            .sum();
        assert!(done > 10, "{what}: {answers:?}");
    }
    world.assert_counts_are_exact().await;
    world.assert_no_deadlocks();
    let without_one_live_token = "
        select count(*) from sessions
        where 1 <> (select count(*) from refresh_tokens
                    where refresh_tokens.session_id = sessions.id and refresh_tokens.spent_at is null)";
    assert_eq!(world.number(without_one_live_token).await, 0);
    let clients = i64::try_from(CLIENTS).unwrap();
    assert_eq!(world.number("select count(*) from users").await, clients);
    let said = served.stop().await;
    assert!(!said.contains("\"ERROR\""), "{said}");
}

//! Warm: one invocation of each route, beside what it cannot do without: its statements, sent by a bare client on
//! one connection and prepared, and the time of a function that does nothing. The three take turns on one core, so
//! that whatever else the machine does befalls all of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use shared::{
    password::{Password, Passwords},
    tokens::KeySet,
};

use crate::{
    Bench, Failure,
    core::OneCore,
    database::{Database, Postgres, Size, digest, token},
    events::{Request, access_token, signing_keys},
    functions::{HELLO, program},
    recorder::{Bare, Recorder, Statement},
    report::{Figure, Target, median, milliseconds},
    runtime_api::Instance,
};

const SIZE: Size = Size { posts: 100_000 };
/// Turns, and times in one turn.
const TURNS: i64 = 15;
const TIMES: i64 = 20;
/// Times in one turn where each hashes a password.
const TIMES_HASHING: i64 = 4;
/// Each route that uses something up has users of its own, so many: half for the function, half for the bare client.
const SHARE: i64 = 800;
const PASSWORD: &str = "opal-lantern-42";
/// The share of those who delete their accounts. They, and Ann, have the password.
const LEAVERS: i64 = 6;
const KNOW_PASSWORDS: &str =
    "update users set password_hash = $1 where id = 1 or id >= $2 and id < $3";

/// A route and how to go on asking for it.
struct Route {
    name: &'static str,
    function: &'static str,
    status: u16,
    /// The request of a number. The statements of a few are recorded.
    request: Box<dyn Fn(i64) -> Result<Request, Failure>>,
    /// How many requests go round: a vote is added, then removed.
    cycle: i64,
    /// Makes recorded statements those of a number.
    vary: fn(&mut [Statement], i64),
    /// How many passwords it hashes.
    hashes: u32,
}

impl Route {
    /// The same request again and again.
    fn new(name: &'static str, function: &'static str, status: u16, request: Request) -> Self {
        Self {
            name,
            function,
            status,
            request: Box::new(move |_| Ok(request.clone())),
            cycle: 1,
            vary: |_, _| (),
            hashes: 0,
        }
    }

    /// Another request each time.
    fn varied(
        self,
        request: impl Fn(i64) -> Result<Request, Failure> + 'static,
        vary: fn(&mut [Statement], i64),
    ) -> Self {
        Self {
            request: Box::new(request),
            vary,
            ..self
        }
    }
}

pub(crate) async fn run(bench: &mut Bench) -> Result<(), Failure> {
    let routes = routes(&signing_keys().await?)?;
    let name = |route: &Route| format!("warm {}", route.name);
    if !routes.iter().any(|route| bench.choice.takes(&name(route))) {
        return Ok(());
    }
    let postgres = Postgres::start().await?;
    bench.knows(&postgres);
    let measured = async {
        let database = postgres.create("warm").await?;
        database.load(SIZE).await?;
        // The disk's time would hide ours.
        database.commit_without_waiting().await?;
        let known = hash(&Passwords::new(1).map_err(|error| error.cause())?).await?;
        let sql = database.connect().await?;
        sql.execute(
            KNOW_PASSWORDS,
            &[&known, &share(LEAVERS), &share(LEAVERS + 1)],
        )
        .await?;
        let _core = OneCore::share(Some(&postgres))?;
        for route in &routes {
            if bench.choice.takes(&name(route)) {
                let figure = measure(route, &database).await?;
                bench.report.add(figure);
            }
        }
        Ok(())
    };
    let measured = measured.await;
    postgres.stop().await?;
    measured
}

/// The times of one route, and of what it is compared with.
#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    bare: Vec<Duration>,
    hello: Vec<Duration>,
    hashes: Vec<Duration>,
}

async fn measure(route: &Route, database: &Database) -> Result<Figure, Failure> {
    let recorded = record(route, database).await?;
    let mut sql = Bare::new(database.connect().await?);
    let passwords = Passwords::new(1).map_err(|error| error.cause())?;
    let mut hello = Instance::start(&program(HELLO), &[]).await?;
    let hello_event = Request::get("/").event();
    let mut ours = Instance::start(&program(route.function), &database.settings()).await?;
    let times_a_turn = if route.hashes > 0 {
        TIMES_HASHING
    } else {
        TIMES
    };
    let mut times = Times::default();
    // The first turn warms up and is not counted.
    for turn in 0..=TURNS {
        let mut taken = Times::default();
        for time in 0..times_a_turn {
            let number = route.cycle + turn * times_a_turn + time;
            let event = (route.request)(number)?.event();
            taken
                .ours
                .push(ours.invoke(&event, &[route.status]).await?.took);
        }
        for time in 0..times_a_turn {
            let number = SHARE / 2 + turn * times_a_turn + time;
            let mut statements = recorded[usize::try_from(number % route.cycle)?].clone();
            (route.vary)(&mut statements, number);
            taken.bare.push(send(&mut sql, &statements).await?);
        }
        for _ in 0..times_a_turn {
            taken
                .hello
                .push(hello.invoke(&hello_event, &[200]).await?.took);
            if route.hashes > 0 {
                let begun = Instant::now();
                for _ in 0..route.hashes {
                    hash(&passwords).await?;
                }
                taken.hashes.push(begun.elapsed());
            }
        }
        if turn > 0 {
            times.ours.append(&mut taken.ours);
            times.bare.append(&mut taken.bare);
            times.hello.append(&mut taken.hello);
            times.hashes.append(&mut taken.hashes);
        }
    }
    ours.stop().await?;
    hello.stop().await?;

    let mut what = "hello".to_owned();
    let mut reference = median(&mut times.hello);
    if !recorded[0].is_empty() {
        let bare = median(&mut times.bare);
        what = format!(
            "hello {:.3} + statement {:.3}",
            milliseconds(reference),
            milliseconds(bare)
        );
        reference += bare;
    }
    if route.hashes > 0 {
        let hash = median(&mut times.hashes);
        what = format!("{what} + hash {:.1}", milliseconds(hash));
        reference += hash;
    }
    Ok(
        Figure::time(format!("warm {}", route.name), median(&mut times.ours))
            .against(what, milliseconds(reference))
            .aims(Target::AtMost(1.25)),
    )
}

async fn hash(passwords: &Passwords) -> Result<String, Failure> {
    let hash = passwords.hash(Password::new(PASSWORD.to_owned())).await;
    Ok(hash.map_err(|error| error.cause())?)
}

/// The statements of each request of a cycle.
async fn record(route: &Route, database: &Database) -> Result<Vec<Vec<Statement>>, Failure> {
    let recorder = Recorder::before(database).await?;
    let mut instance =
        Instance::start(&program(route.function), &recorder.database.settings()).await?;
    let mut statements = Vec::new();
    for number in 0..route.cycle {
        let event = (route.request)(number)?.event();
        instance.invoke(&event, &[route.status]).await?;
        statements.push(recorder.heard());
    }
    instance.stop().await?;
    Ok(statements)
}

async fn send(sql: &mut Bare, statements: &[Statement]) -> Result<Duration, Failure> {
    let begun = Instant::now();
    for statement in statements {
        sql.send(statement).await?;
    }
    Ok(begun.elapsed())
}

/// The user who is the first of a share's. Sessions have the numbers of their users.
const fn share(number: i64) -> i64 {
    1000 + number * SHARE
}

/// A post of a user.
const fn post_of(user: i64) -> i64 {
    user - 1 + SIZE.users()
}

/// Every route.
fn routes(keys: &Arc<KeySet>) -> Result<Vec<Route>, Failure> {
    let ann = access_token(keys, 1, 1)?;
    let post = json!({ "title": "Hello there", "content": "What a day. ".repeat(30) });
    let reads =
        |name, function, target: &str| Route::new(name, function, 200, Request::get(target));
    let anns_reads = |name, function, target: &str| {
        Route::new(name, function, 200, Request::get(target).bearer(&ann))
    };
    let mut routes = vec![
        reads("GET /", "system", "/"),
        reads("GET /health", "system", "/health"),
        reads("GET /posts", "posts", "/posts"),
        anns_reads("GET /posts, signed in", "posts", "/posts"),
        reads("GET /posts/{id}", "posts", "/posts/7"),
        anns_reads("GET /posts/{id}, signed in", "posts", "/posts/7"),
        reads("GET /users/{id}", "users", "/users/7"),
        anns_reads("GET /users/me", "users", "/users/me"),
        anns_reads("GET /auth/sessions", "auth", "/auth/sessions"),
    ];
    let write = Request::post("/posts").bearer(&ann).json(&post);
    routes.push(Route::new("POST /posts", "posts", 201, write));
    let rewrite = Request::new("PUT", format!("/posts/{}", post_of(1)));
    let rewrite = rewrite.bearer(&ann).json(&post);
    routes.push(Route::new("PUT /posts/{id}", "posts", 200, rewrite));
    let votes = [1, 0].map(|dir| {
        Request::post("/vote")
            .bearer(&ann)
            .json(&json!({ "post_id": 7, "dir": dir }))
    });
    let vote = Route::new("POST /vote", "votes", 201, votes[0].clone());
    routes.push(Route {
        cycle: 2,
        ..vote.varied(
            move |number| Ok(votes[usize::try_from(number % 2)?].clone()),
            |_, _| (),
        )
    });
    routes.extend(routes_that_use_up(keys));
    routes.extend(routes_that_hash());
    routes.extend(routes_that_confirm(keys, &ann));
    Ok(routes)
}

/// What can be done once to each thing: every user deletes a post of theirs, and so on.
fn routes_that_use_up(keys: &Arc<KeySet>) -> Vec<Route> {
    let bearer = |keys: &Arc<KeySet>, method, target: fn(i64) -> String, first: i64| {
        let keys = Arc::clone(keys);
        move |number| {
            let user = first + number;
            Ok(Request::new(method, target(user)).bearer(&access_token(&keys, user, user)?))
        }
    };
    let with_token = |target: &'static str, first: i64| {
        move |number| {
            let body = json!({ "refresh_token": token(first + number) });
            Ok(Request::post(target).json(&body))
        }
    };
    let nothing = || Request::get("/");
    vec![
        Route::new("DELETE /posts/{id}", "posts", 204, nothing()).varied(
            bearer(
                keys,
                "DELETE",
                |user| format!("/posts/{}", post_of(user)),
                share(0),
            ),
            |statements, number| {
                set_caller(statements, share(0) + number);
                statements[0].set(3, &post_of(share(0) + number).to_be_bytes());
            },
        ),
        Route::new("POST /auth/refresh", "auth", 200, nothing()).varied(
            with_token("/auth/refresh", share(1)),
            |statements, number| {
                statements[0].set(1, &digest(token(share(1) + number).as_bytes()));
                statements[0].set(2, &digest(&number.to_be_bytes()));
            },
        ),
        Route::new("POST /auth/logout", "auth", 200, nothing()).varied(
            with_token("/auth/logout", share(2)),
            |statements, number| statements[0].set(1, &digest(token(share(2) + number).as_bytes())),
        ),
        Route::new("DELETE /auth/sessions/{id}", "auth", 204, nothing()).varied(
            bearer(
                keys,
                "DELETE",
                |user| format!("/auth/sessions/{}", session_of(user)),
                share(3),
            ),
            |statements, number| {
                set_caller(statements, share(3) + number);
                statements[0].set(3, &session_of(share(3) + number).to_be_bytes());
            },
        ),
        Route::new("POST /auth/logout-all", "auth", 200, nothing()).varied(
            bearer(keys, "POST", |_| "/auth/logout-all".to_owned(), share(4)),
            |statements, number| set_caller(statements, share(4) + number),
        ),
    ]
}

/// Puts another caller in the place of the one who was recorded.
fn set_caller(statements: &mut [Statement], user: i64) {
    statements[0].set(1, &user.to_be_bytes());
    statements[0].set(2, &user.to_be_bytes());
}

/// How long an attempt of the bare client's is in flight, in seconds: it ends none, and is in nobody's way.
const AT_ONCE: [u8; 8] = 0_f64.to_be_bytes();

fn routes_that_hash() -> Vec<Route> {
    let sign_up = |number: i64| {
        let email = format!("warm-{number}@example.com");
        Ok(Request::post("/users").json(&json!({ "email": email, "password": PASSWORD })))
    };
    let login = |_| {
        Request::post("/auth/login")
            .form("username=warm-0%40example.com&password=".to_owned() + PASSWORD)
    };
    let routes = [
        Route::new("POST /users", "users", 201, login(0)).varied(sign_up, |statements, number| {
            statements[0].set(1, format!("warm-{number}@example.com").as_bytes());
        }),
        // The first who signed up logs in.
        Route::new("POST /auth/login", "auth", 200, login(0)).varied(
            move |number| Ok(login(number)),
            |statements, number| {
                statements[0].set(6, &AT_ONCE);
                statements[1].set(7, &digest(&(-number).to_be_bytes()));
            },
        ),
    ];
    routes.map(|route| Route { hashes: 1, ..route }).into()
}

/// Ann changes her password back and forth, the bare client that of somebody who has none. Leavers delete their
/// accounts.
fn routes_that_confirm(keys: &Arc<KeySet>, ann: &str) -> [Route; 2] {
    let passwords = [PASSWORD, "garnet-lantern-43"];
    let changes = [0, 1].map(|time| {
        let change =
            json!({ "old_password": passwords[time], "new_password": passwords[1 - time] });
        Request::new("PUT", "/users/me/password")
            .bearer(ann)
            .json(&change)
    });
    let change = Route {
        cycle: 2,
        hashes: 2,
        ..Route::new("PUT /users/me/password", "users", 200, changes[0].clone()).varied(
            move |number| Ok(changes[usize::try_from(number % 2)?].clone()),
            |statements, _| {
                statements[1].set(4, &AT_ONCE);
                let user = share(LEAVERS - 1).to_be_bytes();
                for parameter in [1, 2] {
                    statements[3].set(parameter, &user);
                    statements[3].set(parameter + 2, b"");
                }
            },
        )
    };
    let keys = Arc::clone(keys);
    let leave = Route {
        hashes: 1,
        ..Route::new("DELETE /users/me", "users", 204, Request::get("/")).varied(
            move |number| {
                let user = share(LEAVERS) + number;
                let password = json!({ "password": PASSWORD });
                Ok(Request::new("DELETE", "/users/me")
                    .bearer(&access_token(&keys, user, user)?)
                    .json(&password))
            },
            |statements, number| {
                set_caller(statements, share(LEAVERS) + number);
                statements[1].set(4, &AT_ONCE);
                for parameter in [1, 2] {
                    statements[3].set(parameter, &(share(LEAVERS) + number).to_be_bytes());
                }
            },
        )
    };
    [change, leave]
}

/// Another session of a user's.
const fn session_of(user: i64) -> i64 {
    user + SIZE.users()
}

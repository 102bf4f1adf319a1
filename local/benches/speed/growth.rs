//! Growth: what a request costs when there is a thousand times as much. Three databases, which take turns, so that
//! whatever else the machine does befalls all of them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Bench, Failure,
    core::OneCore,
    database::{COMMON, Database, Postgres, RARE, Size, digest, token},
    events::{Ballots, Request, signing_keys},
    functions::program,
    recorder::{Bare, Recorder, Statement},
    report::{Figure, Target, median, milliseconds},
    runtime_api::Instance,
    traffic::{Requests, keep_busy},
};

const SIZES: [Size; 3] = [
    Size { posts: 1_000 },
    Size { posts: 100_000 },
    Size { posts: 1_000_000 },
];
/// Turns, and times in one turn.
const TURNS: i64 = 15;
const TIMES: i64 = 20;

/// What is done to databases of every size.
struct Deed {
    name: &'static str,
    function: &'static str,
    status: u16,
    target: Option<Target>,
    /// Less often, where each takes long.
    is_slow: bool,
    /// The event of a number.
    event: fn(&Scene, i64) -> String,
}

/// One database, and what is known of it.
struct Scene {
    size: Size,
    database: Database,
    ballots: Ballots,
    /// The page in the middle, by its cursor.
    deep_page: String,
}

impl Scene {
    /// A post like any other.
    fn post(&self, number: i64) -> i64 {
        1 + number * 7919 % self.size.posts
    }

    /// A user who did not vote for a post yet, another one each time.
    fn voter(&self, post: i64, number: i64) -> i64 {
        let users = self.size.users();
        let has_voted =
            |user| (0..10).any(|voter| 1 + (post * 7919 + voter * 104_729) % users == user);
        let mut user = 1 + number % users;
        while has_voted(user) {
            user = 1 + user % users;
        }
        user
    }
}

const ALIKE: Option<Target> = Some(Target::AtMost(1.3));

fn deeds() -> [Deed; 9] {
    let get = |name, target, is_slow, event| Deed {
        name,
        function: "posts",
        status: 200,
        target,
        is_slow,
        event,
    };
    [
        get("list", ALIKE, false, |_, _| Request::get("/posts").event()),
        get("list by cursor, in the middle", ALIKE, false, |scene, _| {
            Request::get(&scene.deep_page).event()
        }),
        get("list by offset, in the middle", None, true, |scene, _| {
            Request::get(format!("/posts?skip={}", scene.size.posts / 2)).event()
        }),
        get("read", ALIKE, false, |scene, number| {
            Request::get(format!("/posts/{}", scene.post(number))).event()
        }),
        get(
            "search, rare word",
            Some(Target::AtMost(3.0)),
            false,
            |_, _| Request::get(format!("/posts?search={RARE}")).event(),
        ),
        get("search, common word", None, true, |_, _| {
            Request::get(format!("/posts?search={COMMON}")).event()
        }),
        Deed {
            name: "vote",
            function: "votes",
            status: 201,
            target: ALIKE,
            is_slow: false,
            event: |scene, number| {
                let post = scene.post(number);
                scene.ballots.event(scene.voter(post, number), post)
            },
        },
        Deed {
            name: "create",
            function: "posts",
            status: 201,
            target: ALIKE,
            is_slow: false,
            event: |scene, number| {
                let title = format!("A thought of number {number}");
                let post = json!({ "title": title, "content": "What a day. ".repeat(30) });
                let token = scene.ballots.token(number);
                Request::post("/posts").bearer(token).json(&post).event()
            },
        },
        Deed {
            name: "refresh",
            function: "auth",
            status: 200,
            target: ALIKE,
            is_slow: false,
            event: |scene, number| {
                let body = json!({ "refresh_token": token(scene.post(number)) });
                Request::post("/auth/refresh").json(&body).event()
            },
        },
    ]
}

const THROTTLE: &str = "growth login throttle, statement alone";
const POPULAR: &str = "growth votes of 16 for one post";

pub(crate) async fn run(bench: &mut Bench) -> Result<(), Failure> {
    let deeds: Vec<_> = deeds()
        .into_iter()
        .filter(|deed| bench.choice.takes(&format!("growth {}", deed.name)))
        .collect();
    if deeds.is_empty() && !bench.choice.takes(THROTTLE) && !bench.choice.takes(POPULAR) {
        return Ok(());
    }
    let postgres = Postgres::start().await?;
    bench.knows(&postgres);
    let measured = measure_all(bench, &postgres, &deeds).await;
    postgres.stop().await?;
    measured
}

async fn measure_all(
    bench: &mut Bench,
    postgres: &Postgres,
    deeds: &[Deed],
) -> Result<(), Failure> {
    let keys = signing_keys().await?;
    let mut scenes = Vec::new();
    for size in SIZES {
        let database = postgres.create(&format!("growth_{}", size.posts)).await?;
        let begun = Instant::now();
        database.load(size).await?;
        eprintln!("{} posts loaded in {:.0?}", size.posts, begun.elapsed());
        // The disk's time would hide ours.
        database.commit_without_waiting().await?;
        let mut posts = Instance::start(&program("posts"), &database.settings()).await?;
        let middle = Request::get(format!("/posts?skip={}", size.posts / 2 - 10));
        let deep_page = posts.invoke(&middle.event(), &[200]).await?.next_page()?;
        posts.stop().await?;
        scenes.push(Scene {
            size,
            database,
            ballots: Ballots::new(&keys, size.users())?,
            deep_page,
        });
    }
    let core = OneCore::share(Some(postgres))?;
    for deed in deeds {
        let times = do_everywhere(&scenes, deed).await?;
        report(bench, &format!("growth {}", deed.name), deed.target, &times);
    }
    if bench.choice.takes(THROTTLE) {
        let times = throttle(&scenes).await?;
        report(bench, THROTTLE, ALIKE, &times);
    }
    drop(core);
    if bench.choice.takes(POPULAR) {
        popular(bench, &scenes[2]).await?;
    }
    Ok(())
}

/// The medians of every size; each but the smallest is compared with that.
fn report(bench: &mut Bench, name: &str, target: Option<Target>, times: &[Duration]) {
    for (size, time) in SIZES.iter().zip(times).skip(1) {
        let figure = Figure::time(format!("{name}, {} posts", size.posts), *time)
            .against(format!("{} posts", SIZES[0].posts), milliseconds(times[0]));
        bench.report.add(match target {
            Some(target) => figure.aims(target),
            None => figure,
        });
    }
}

async fn do_everywhere(scenes: &[Scene], deed: &Deed) -> Result<Vec<Duration>, Failure> {
    let mut instances = Vec::new();
    for scene in scenes {
        instances.push(Instance::start(&program(deed.function), &scene.database.settings()).await?);
    }
    let times_a_turn = if deed.is_slow { TIMES / 10 } else { TIMES };
    let mut taken = vec![Vec::new(); scenes.len()];
    for turn in 0..=TURNS {
        for ((scene, instance), taken) in scenes.iter().zip(&mut instances).zip(&mut taken) {
            for time in 0..times_a_turn {
                let event = (deed.event)(scene, turn * times_a_turn + time);
                let answer = instance.invoke(&event, &[deed.status]).await?;
                // The first turn warms up.
                if turn > 0 {
                    taken.push(answer.took);
                }
            }
        }
    }
    for instance in instances {
        instance.stop().await?;
    }
    Ok(taken.iter_mut().map(|times| median(times)).collect())
}

/// What counting an attempt to log in costs; beside the password's hash it would not show.
async fn throttle(scenes: &[Scene]) -> Result<Vec<Duration>, Failure> {
    let mut clients: Vec<(Statement, Bare)> = Vec::new();
    for scene in scenes {
        let recorder = Recorder::before(&scene.database).await?;
        let mut auth = Instance::start(&program("auth"), &recorder.database.settings()).await?;
        let login =
            Request::post("/auth/login").form("username=nobody%40example.com&password=wrong");
        auth.invoke(&login.event(), &[401]).await?;
        auth.stop().await?;
        let statement = recorder.heard().into_iter().next();
        let statement = statement.ok_or("the function sent no statement")?;
        clients.push((statement, Bare::new(scene.database.connect().await?)));
    }
    let mut taken = vec![Vec::new(); scenes.len()];
    for turn in 0..=TURNS {
        for ((statement, sql), taken) in clients.iter_mut().zip(&mut taken) {
            for time in 0..TIMES {
                let number = turn * TIMES + time;
                // An address and a source of its own.
                let buckets =
                    [0, 1, 2].map(|bucket| digest(format!("{bucket} {number}").as_bytes()));
                statement.set(4, &array(&buckets));
                let begun = Instant::now();
                sql.send(statement).await?;
                if turn > 0 {
                    taken.push(begun.elapsed());
                }
            }
        }
    }
    Ok(taken.iter_mut().map(|times| median(times)).collect())
}

/// A `bytea[]` as it goes over the wire: dimensions, nulls, type, length, first index, and the elements.
fn array(elements: &[[u8; 32]]) -> Vec<u8> {
    let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let head = [1, 0, 17, length(elements.len()), 1];
    let mut bytes: Vec<u8> = head.into_iter().flat_map(i32::to_be_bytes).collect();
    for element in elements {
        bytes.extend(length(element.len()).to_be_bytes());
        bytes.extend(element);
    }
    bytes
}

/// Votes of sixteen instances for one post, beside as many for many posts, with commits that wait for the disk:
/// a row that voters queued for would be held for as long as that takes. The two take turns.
async fn popular(bench: &mut Bench, scene: &Scene) -> Result<(), Failure> {
    const POST: i64 = 7;
    scene.database.commit_durably().await?;
    let mut crew = Vec::new();
    for _ in 0..16 {
        crew.push(Instance::start(&program("votes"), &scene.database.settings()).await?);
    }
    let (mut one, mut many) = (0.0, 0.0);
    for turn in 0..2_i64 {
        for is_one in [true, false] {
            let requests = |number: u64| -> Requests {
                let ballots = scene.ballots.clone();
                // Every voter votes once: a number of voters for each instance and turn.
                let mut user = (turn * 16 + number.cast_signed()) * (scene.size.users() / 32);
                let posts = scene.size.posts;
                Box::new(move || {
                    user += 1;
                    let post = if is_one {
                        POST
                    } else {
                        1 + user * 7919 % posts
                    };
                    ballots.event(user, post)
                })
            };
            let rate = keep_busy(&mut crew, Duration::from_secs(4), &[201, 409], requests).await?;
            *(if is_one { &mut one } else { &mut many }) += rate / 2.0;
        }
    }
    for instance in crew {
        instance.stop().await?;
    }
    let sql = scene.database.connect().await?;
    let counts = sql
        .query_one(
            "select (select count(*) from votes where post_id = $1),
                    (select sum(votes)::bigint from vote_counts where post_id = $1)",
            &[&POST],
        )
        .await?;
    let (stored, counted): (i64, i64) = (counts.get(0), counts.get(1));
    if stored != counted {
        return Err(format!("{stored} votes were stored and {counted} counted").into());
    }
    bench.report.add(
        Figure::new(POPULAR, one, "/s")
            .against("16 for many posts", many)
            .aims(Target::AtLeast(0.5)),
    );
    bench
        .report
        .note(format!("The count of that post is exact: {stored} votes."));
    Ok(())
}

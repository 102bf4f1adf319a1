//! What is not exactly the FastAPI service's database is not touched.

use serde_json::{Value, json};
use shared::config::Secret;

use super::old::access_token;
use crate::world::{Door, Request, World};

/// What begins every refusal.
const REFUSED: &str = "The database cannot be adopted, and nothing was changed. ";
/// What ends one that names what is too much.
const SURPLUS: &str =
    "Drop it or take it back, or move it to a schema of its own, and see to it afterwards.";

/// What somebody may have made, what it is called in the refusal, and how it is taken back.
const SURPLUSES: [(&str, &str, &str); 20] = [
    (
        "alter table posts add column summary text",
        "column posts.summary text",
        "alter table posts drop column summary",
    ),
    (
        "create index on posts (created_at)",
        "index posts_created_at_idx on posts: CREATE INDEX posts_created_at_idx ON \
         public.posts USING btree (created_at)",
        "drop index posts_created_at_idx",
    ),
    (
        "alter table posts add constraint titled check (title <> 'x')",
        "constraint titled on posts: CHECK (((title)::text <> 'x'::text))",
        "alter table posts drop constraint titled",
    ),
    (
        "create view titles as select title from posts",
        "relation titles of kind v; view titles on posts",
        "drop view titles",
    ),
    (
        "create view elsewhere.titles as select title from posts",
        "view elsewhere.titles on posts",
        "drop view elsewhere.titles",
    ),
    (
        "create table elsewhere.likes (post_id integer references posts)",
        "constraint likes_post_id_fkey on elsewhere.likes: FOREIGN KEY (post_id) REFERENCES \
         posts(id)",
        "drop table elsewhere.likes",
    ),
    (
        "create table elsewhere.more () inherits (votes)",
        "inheritance between votes and elsewhere.more",
        "drop table elsewhere.more",
    ),
    (
        "create function count_votes() returns void language sql as ''",
        "function count_votes()",
        "drop function count_votes()",
    ),
    (
        "create function elsewhere.first() returns text language sql begin atomic select \
         title from posts; end",
        "function elsewhere.first()",
        "drop function elsewhere.first()",
    ),
    (
        "create trigger noted before update on users for each row execute function \
         suppress_redundant_updates_trigger()",
        "trigger noted on users",
        "drop trigger noted on users",
    ),
    (
        "create rule kept as on delete to users do instead nothing",
        "rule kept on users",
        "drop rule kept on users",
    ),
    (
        "create policy own on posts using (true)",
        "policy own on posts",
        "drop policy own on posts",
    ),
    (
        "alter table posts enable row level security",
        "row security on posts",
        "alter table posts disable row level security",
    ),
    (
        "create statistics told on owner_id, is_published from posts",
        "statistics told on posts",
        "drop statistics told",
    ),
    (
        "create publication news for table posts",
        "publication news of posts",
        "drop publication news",
    ),
    (
        "create type mood as enum ('good')",
        "type mood",
        "drop type mood",
    ),
    (
        "create sequence numbers",
        "sequence numbers",
        "drop sequence numbers",
    ),
    (
        "create materialized view attempts as select 1 as one",
        "relation attempts of kind m",
        "drop materialized view attempts",
    ),
    (
        "grant select on posts to test_reader",
        "privileges of test_reader on posts",
        "revoke select on posts from test_reader",
    ),
    (
        "grant select (email) on users to public",
        "privileges of public on users",
        "revoke select (email) on users from public",
    ),
];

/// What somebody may have changed, what is too much then, and what is missing.
const CHANGES: [(&str, Option<&str>, &str); 7] = [
    (
        "alter table users alter id type bigint",
        Some("column users.id bigint not null default nextval('users_id_seq'::regclass)"),
        "column users.id integer not null default nextval('users_id_seq'::regclass)",
    ),
    (
        "alter table posts alter title drop not null",
        Some("column posts.title character varying"),
        "column posts.title character varying not null",
    ),
    (
        "alter table posts alter is_published set default false",
        Some("column posts.is_published boolean not null default false"),
        "column posts.is_published boolean not null default true",
    ),
    (
        "alter table users alter email type varchar collate \"C\"",
        Some("column users.email character varying collate \"C\" not null"),
        "column users.email character varying not null",
    ),
    (
        "alter table votes drop constraint votes_pkey",
        None,
        "constraint votes_pkey on votes: PRIMARY KEY (user_id, post_id)",
    ),
    (
        "drop index ix_refresh_tokens_token",
        None,
        "index ix_refresh_tokens_token on refresh_tokens: CREATE UNIQUE INDEX \
         ix_refresh_tokens_token ON public.refresh_tokens USING btree (token)",
    ),
    (
        "alter table votes set unlogged",
        Some("unlogged table votes"),
        "table votes",
    ),
];

impl World {
    /// Asserts that both the survey and the adoption have this one reason not to go on, and change nothing.
    async fn refuses(&self, reason: &str) {
        let before = self.whole_dump().await;
        let survey = self.survey().await;
        assert_eq!(survey["can_proceed"], json!(false), "{reason}");
        assert_eq!(survey["reasons"], json!([reason]));
        assert_eq!(self.adopt().await, Err(format!("{REFUSED}{reason}")));
        assert_eq!(self.whole_dump().await, before, "{reason}");
    }

    async fn does(&self, sql: &str) {
        self.sql
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

#[tokio::test]
async fn what_the_old_service_did_not_make_is_named() {
    let world = World::old(Door::Event).await;
    world
        .does("create schema elsewhere; create role test_reader")
        .await;
    for (make, named, unmake) in SURPLUSES {
        world.does(make).await;
        let reason = format!("It has what the FastAPI service did not make: {named}. {SURPLUS}");
        world.refuses(&reason).await;
        world.does(unmake).await;
    }
    // What merely stands in another schema is nobody's concern.
    world
        .does("create table elsewhere.users (id integer); drop role test_reader")
        .await;
    world.adopt().await.unwrap();
}

#[tokio::test]
async fn what_the_old_service_made_otherwise_is_named_both_ways() {
    for (change, surplus, missing) in CHANGES {
        let world = World::old_and_empty(Door::Event).await;
        world.does(change).await;
        let before = world.whole_dump().await;
        let mut reasons = Vec::new();
        if let Some(surplus) = surplus {
            reasons.push(format!(
                "It has what the FastAPI service did not make: {surplus}. {SURPLUS}"
            ));
        }
        reasons.push(format!(
            "It lacks what the FastAPI service made: {missing}. Put it back as it was."
        ));
        assert_eq!(world.survey().await["reasons"], json!(reasons));
        assert_eq!(
            world.adopt().await,
            Err(format!("{REFUSED}{}", reasons.join(" ")))
        );
        assert_eq!(world.whole_dump().await, before);
    }
}

#[tokio::test]
async fn another_revision_is_brought_up_by_its_own_service_first() {
    let world = World::old(Door::Event).await;
    for (change, told) in [
        (
            "update alembic_version set version_num = '0123456789ab'",
            "0123456789ab",
        ),
        (
            "insert into alembic_version values ('a218f9007143')",
            "0123456789ab and a218f9007143",
        ),
        ("delete from alembic_version", "missing"),
    ] {
        world.does(change).await;
        let reason = format!(
            "Its Alembic revision is {told}, not a218f9007143: bring it there with the FastAPI \
             service's own `alembic upgrade head` first."
        );
        world.refuses(&reason).await;
    }
}

#[tokio::test]
async fn addresses_that_collide_are_told_by_id() {
    let world = World::old(Door::Event).await;
    world.does(
        "insert into users (id, email, password) values
             (20, 'ANN@example.com', ''), (21, 'ann@EXAMPLE.com', ''), (22, 'bob.lee@example.com', ''),
             -- These are two, as they are to the index of this service.
             (23, 'ÖDE@example.com', ''), (24, 'öde@example.com', '')",
    )
    .await;
    let reason = "Several users have the same address but for its case (2 in all, by id 1 and 20 \
                  and 21; 2 and 22): give each one of their own, or delete all of them but one; \
                  `--dry-run` lists them.";
    world.refuses(reason).await;
    let survey = world.survey().await;
    assert_eq!(
        survey["found"]["colliding_addresses"],
        json!({ "count": 2, "ids": [[1, 20, 21], [2, 22]] })
    );
    assert!(!survey.to_string().contains('@'), "{survey}");
    world
        .does("delete from users where id in (20, 21, 22)")
        .await;
    world.adopt().await.unwrap();
}

#[tokio::test]
async fn of_many_collisions_a_few_are_told() {
    let world = World::old_and_empty(Door::Event).await;
    world.does(
        "insert into users (email, password)
         select format(form, number), '' from generate_series(1, 150) as number, unnest('{a%s@b.c,A%s@b.c}'::text[]) as form",
    )
    .await;
    let survey = world.survey().await;
    let colliding = &survey["found"]["colliding_addresses"];
    assert_eq!(colliding["count"], 150);
    assert_eq!(colliding["ids"].as_array().unwrap().len(), 100);
    let reason = survey["reasons"][0].as_str().unwrap();
    assert!(reason.contains("5 and 155 and so on): give"), "{reason}");
}

/// What Lambda takes of an answer, in bytes.
const ANSWER: usize = 6_291_556;

#[tokio::test]
async fn posts_that_no_answer_can_carry_are_told_before_they_are_lost() {
    let world = World::old(Door::Event).await;
    world
        .does(
            "insert into posts (title, content, owner_id) values
                 (repeat('t', 6300000), '', 2), ('', repeat('猫', 2100000), 2),
                 ('', repeat('\"', 1600000), 2), (repeat('\\', 1600000), '', 2),
                 ('', repeat(e'\\n\\t', 1050000), 2), ('', repeat(e'\\x1f', 900000), 2)",
        )
        .await;
    let reason = "Posts are longer than an answer can be, which is 6 MB of JSON (6 in all, by id 7, \
                  8, 9, 10, 11 and so on): neither they nor a page that they are on could be read. \
                  Shorten their titles or contents, or delete them; `--dry-run` lists them.";
    world.refuses(reason).await;
    let survey = world.survey().await;
    assert_eq!(
        survey["found"]["posts_over_answer"],
        json!({ "count": 6, "ids": [7, 8, 9, 10, 11, 12] })
    );
    world
        .does("delete from posts where id in (8, 9, 10, 11, 12)")
        .await;
    world
        .refuses(&reason.replace(
            "6 in all, by id 7, 8, 9, 10, 11 and so on",
            "1 in all, by id 7",
        ))
        .await;
    world.does("delete from posts where id = 7").await;
    world.adopt().await.unwrap();
}

#[tokio::test]
async fn what_is_adopted_can_be_answered() {
    // As long as can be, of what is escaped in each way, down to the last character.
    for (unit, takes) in [
        ("a", 1),
        ("é", 2),
        ("\"", 4),
        ("\\", 4),
        ("\n", 3),
        ("\u{8}", 3),
        ("\u{1}", 7),
        ("\u{b}", 7),
        ("\u{1f}", 7),
        ("\u{7f}", 1),
    ] {
        let world = World::old(Door::Event).await;
        let most =
            i32::try_from((ANSWER - 16 * 1024 - "Bob.Lee@Example.com".len()) / takes).unwrap();
        let insert = "insert into posts (title, content, owner_id, created_at)
                      values (repeat($1, $2 / 2), repeat($1, $2 - $2 / 2), 2, '2026-03-01')
                      returning id::bigint";
        let row = world.rows(insert, &[&unit, &(most + 1)]).await;
        let id: i64 = row[0].get(0);
        let found = &world.survey().await["found"]["posts_over_answer"];
        assert_eq!(found, &json!({ "count": 1, "ids": [id] }), "{unit:?}");
        world
            .does(&format!(
                "update posts set content = substr(content, 2) where id = {id}"
            ))
            .await;
        world.adopt().await.unwrap();
        for target in [format!("/posts/{id}"), "/posts/?limit=1".to_owned()] {
            let request = Request::get(&target).bearer(&access_token(2));
            let answer = world.send(request).await;
            assert_eq!(answer.status, 200, "{unit:?}");
            // The body is a string of the event that carries it.
            let body = serde_json::to_string(&answer.text()).unwrap();
            assert!(
                body.len() + 4096 < ANSWER && body.len() > ANSWER - 17 * 1024,
                "{unit:?} {}",
                body.len()
            );
        }
    }
}

#[tokio::test]
async fn times_that_nobody_could_be_shown_are_told() {
    let world = World::old(Door::Event).await;
    world
        .does("update posts set created_at = 'infinity' where id in (1, 2)")
        .await;
    world
        .refuses(
            "The column posts.created_at has 2 values that are infinite or beyond the years 1 to \
             9999: give them others.",
        )
        .await;
}

#[tokio::test]
async fn an_empty_database_is_for_migrate() {
    let world = World::unmigrated(Door::Event).await;
    world
        .refuses(
            "There is nothing to adopt: it has no tables of the FastAPI service. `migrate` makes \
             those of this service.",
        )
        .await;
}

#[tokio::test]
async fn migrate_leaves_it_to_adopt() {
    let world = World::old(Door::Event).await;
    let before = world.whole_dump().await;
    let refused = "This is a database of the FastAPI service, and nothing was changed: `adopt` \
                   takes it over, `migrate` would not.";
    assert_eq!(
        world.order(json!({ "action": "migrate" })).await,
        Err(refused.to_owned())
    );
    assert_eq!(world.whole_dump().await, before);
    assert_eq!(world.get("/health").await.status, 503);
    world.adopt().await.unwrap();
}

#[tokio::test]
async fn its_owner_adopts_it_and_needs_no_more_than_that() {
    let mut world = World::old(Door::Event).await;
    let database = world.database().clone();
    let (owner, other) = (
        format!("owner_{}", database.name),
        format!("other_{}", database.name),
    );
    world
        .does(&format!(
            "create role {owner} login password 'owner'; create role {other} login password 'other';
             alter database {} owner to {owner};
             alter schema public owner to {owner};
             alter table alembic_version owner to {owner}; alter table users owner to {owner};
             alter table posts owner to {owner}; alter table votes owner to {owner};
             alter table refresh_tokens owner to {owner}",
            database.name
        ))
        .await;
    let settings = world.config.database.as_mut().unwrap();
    (settings.username, settings.password) = (other.clone(), Secret::new("other"));
    let survey = world.survey().await;
    let reasons: Vec<&str> = survey["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        reasons,
        [
            &format!(
                "The tables belong to {owner}, and {other} is connected: connect as their owner."
            ) as &str
        ]
    );
    assert_eq!(
        world.adopt().await,
        Err(format!("{REFUSED}{}", reasons.join(" ")))
    );

    let settings = world.config.database.as_mut().unwrap();
    (settings.username, settings.password) = (owner.clone(), Secret::new("owner"));
    world.adopt().await.unwrap();
    let owners = "select distinct tableowner::text from pg_tables where schemaname = 'public'";
    let owners: Vec<String> = world
        .rows(owners, &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(owners, [owner]);
    let world = world.configured(|_| ()).await;
    assert!(world.accepts(&access_token(1)).await);
}

#[tokio::test]
async fn who_may_act_for_the_owner_adopts_it_and_owns_it_then() {
    let world = World::old(Door::Event).await;
    let owner = format!("owner_{}", world.database().name);
    world
        .does(&format!(
            "create role {owner};
             alter table alembic_version owner to {owner}; alter table users owner to {owner};
             alter table posts owner to {owner}; alter table votes owner to {owner};
             alter table refresh_tokens owner to {owner}"
        ))
        .await;
    world.adopt().await.unwrap();
    assert_eq!(
        world.schema().await,
        World::new(Door::Event).await.schema().await
    );
}

#[tokio::test]
async fn permissions_that_are_missing_are_told() {
    let mut world = World::old_and_empty(Door::Event).await;
    let database = world.database().clone();
    let role = format!("role_{}", database.name);
    world
        .does(&format!(
            "create role {role} login password 'role';
             alter table alembic_version owner to {role}; alter table users owner to {role};
             alter table posts owner to {role}; alter table votes owner to {role};
             alter table refresh_tokens owner to {role};
             revoke create on schema public from public"
        ))
        .await;
    let settings = world.config.database.as_mut().unwrap();
    (settings.username, settings.password) = (role.clone(), Secret::new("role"));
    let before = world.whole_dump().await;
    let reasons = [
        format!("{role} may not create tables: `grant create on schema public to {role}`."),
        format!(
            "{role} cannot have the extension pg_trgm: install it on the server (Debian: \
             `postgresql-contrib`), and `create extension pg_trgm` as a superuser or `grant \
             create on database` to {role}."
        ),
    ];
    assert_eq!(world.survey().await["reasons"], json!(reasons));
    assert_eq!(
        world.adopt().await,
        Err(format!("{REFUSED}{}", reasons.join(" ")))
    );
    assert_eq!(world.whole_dump().await, before);
    // Both together are enough.
    world
        .does(&format!(
            "grant create on schema public to {role}; create schema elsewhere; create extension \
             pg_trgm schema elsewhere"
        ))
        .await;
    assert_eq!(
        world.survey().await["reasons"],
        json!([
            "Its extension pg_trgm is in the schema elsewhere: `alter extension pg_trgm set \
             schema public`."
        ])
    );
    world
        .does("alter extension pg_trgm set schema public")
        .await;
    world.adopt().await.unwrap();
}

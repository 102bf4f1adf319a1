//! The database of the FastAPI service, as that service left it.

use serde_json::{Value, json};

use crate::{
    stored_hashes::OUTDATED,
    world::{Door, World, dump, token},
};

const SCHEMA: &str = include_str!("old_schema.sql");

/// Tokens in every form that a service may have given them; all are live, and the first user's.
pub(super) const FORMS: [&str; 6] = [
    "h0gX2mZq0f2K8cJr1kq4o3Q9bq1v7T5yPz6xWn3dLsE",
    "XxYyZz0123456789abcdefghijklmnopqrstuvwxyz-_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdef",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoxLCJ0eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl",
    "deadbeef",
    "täglich ein + / = \"Zeichen\"",
];
pub(super) const BOBS: &str = "bobs-live-token";
pub(super) const REVOKED: &str = "anns-revoked-token";
pub(super) const EXPIRED: &str = "anns-expired-token";

/// Users whose password is everybody's. Ids are given by the sequences, as they were when people signed up.
const PEOPLE: &str = "
    insert into users (email, password, created_at) values
        ('ann@example.com', $1, '2026-01-11 19:03:47.83459+00'),
        ('Bob.Lee@Example.com', $1, '2026-01-12 08:00:00+00'),
        (' cat@example.com', $1, '2026-01-13 08:00:00.5+00'),
        ('dan@xn--bcher-kva.example', $1, '2026-01-14 00:00:00.000001+00'),
        ('erin@BÜCHER.example', $1, default),
        ('no-at-sign', $1, default),
        ('somebody who left', $1, default)";
const WRITINGS: &str = "
    delete from users where email = 'somebody who left';
    insert into posts (title, content, owner_id, created_at, is_published) values
        ('first', 'content', 1, '2026-02-01 10:00:00.123456+00', true),
        ('draft', 'content', 1, '2026-02-01 10:00:01+00', false),
        ('', 'no title', 2, '2026-02-01 10:00:02+00', true),
        (repeat('ä', 301), 'long title', 2, '2026-02-01 10:00:03+00', true),
        ('long content', repeat('ä', 50001), 3, '2026-02-01 10:00:04+00', true),
        ('deleted', '', 3, '2026-02-01 10:00:05+00', true);
    delete from posts where title = 'deleted';
    insert into votes (user_id, post_id) values (1, 1), (2, 1), (3, 1), (1, 3), (6, 2);
    -- Past the limit of twenty, and the one that logged in last is not the last to expire.
    insert into refresh_tokens (user_id, token, expires_at, created_at)
    select 1, 'anns-token-' || number, now() + number * interval '1 day', now() - number * interval '1 hour'
    from generate_series(1, 30) as number";
const TOKEN: &str = "
    insert into refresh_tokens (user_id, token, expires_at, is_revoked)
    values ($1::bigint, $2, now() + $3::bigint * interval '1 second', $4)";

impl World {
    /// A database of the FastAPI service without rows, and the API over it.
    pub(super) async fn old_and_empty(door: Door) -> Self {
        let world = Self::unmigrated(door).await;
        world.sql.batch_execute(SCHEMA).await.unwrap();
        world
    }

    /// A database of the FastAPI service with people, posts, votes and tokens, and the API over it.
    pub(crate) async fn old(door: Door) -> Self {
        let world = Self::old_and_empty(door).await;
        world.sql.execute(PEOPLE, &[&OUTDATED[0]]).await.unwrap();
        world.sql.batch_execute(WRITINGS).await.unwrap();
        for form in FORMS {
            world.token(1, form, 1000, false).await;
        }
        world.token(2, BOBS, 1000, false).await;
        world.token(1, REVOKED, 1000, true).await;
        world.token(1, EXPIRED, -1, false).await;
        world
    }

    async fn token(&self, user_id: i64, token: &str, lives: i64, is_revoked: bool) {
        self.rows(TOKEN, &[&user_id, &token, &lives, &is_revoked])
            .await;
    }

    /// Gives the order to adopt; the report as the function answers it, or its failure.
    pub(super) async fn adopt(&self) -> Result<Value, String> {
        self.order(json!({ "action": "adopt" })).await
    }

    /// Asks what adopting would do.
    pub(super) async fn survey(&self) -> Value {
        self.order(json!({ "action": "adopt", "dry_run": true }))
            .await
            .unwrap()
    }

    pub(crate) async fn order(&self, event: Value) -> Result<Value, String> {
        let order = serde_json::from_value(event).unwrap();
        migrate::carry_out(&order, self.config.database.as_ref().unwrap())
            .await
            .map(|report| serde_json::to_value(report).unwrap())
            .map_err(|failure| failure.to_string())
    }

    /// Everything that is in the database.
    pub(super) async fn whole_dump(&self) -> String {
        dump(self.database(), &[]).await
    }

    /// The schema, with owners and privileges.
    pub(super) async fn schema(&self) -> String {
        dump(self.database(), &["--schema-only"]).await
    }
}

/// An access token that the FastAPI service signed for a user.
pub(super) fn access_token(user_id: i64) -> String {
    token::sign(token::HEADER, &token::claims(user_id, &json!({})))
}

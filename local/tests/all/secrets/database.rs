//! The database's login is in Secrets Manager, and changes there while requests are served.

use std::collections::HashMap;

use axum::http::StatusCode;
use local::settings::DEFAULTS;
use serde_json::{Value, json};
use shared::config::{Database, Settings};

use crate::world::{Answer, PASSWORD, Proxy, Request, Said, SecretsManager, StoredSecret, World};

/// One fetch of the login.
const ONCE: [&str; 1] = ["AWSCURRENT"];
const NEVER: [&str; 0] = [];

at_both_doors! {
    /// What RDS manages: a username and a password, no more.
    async fn the_login_comes_from_the_secret_and_the_place_from_the_settings(world: World) {
        let (world, aws, _) = managed(world, "p1").await;
        let role = role(&world);
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        assert_eq!(sign_up(&world, "bob").await.status, 201);
        assert_eq!(sessions(&world, &role).await, 1);
        assert_eq!(aws.fetched(), ONCE);

        let world = world.configured(|_| ()).await;
        assert_eq!(sign_up(&world, "cid").await.status, 201);
        assert_eq!(aws.fetched(), ONCE);
    }

    async fn a_secret_that_names_the_place_needs_no_setting_beside_it(world: World) {
        let aws = SecretsManager::new().await;
        let role = create_role(&world, "p1").await;
        let place = world.database().clone();
        let mut login = login(&role, "p1");
        login["engine"] = json!("postgres");
        login["host"] = json!(place.hostname);
        login["port"] = json!(place.port);
        login["dbname"] = json!(place.name);
        login["dbInstanceIdentifier"] = json!("social");
        let (secret, _) = StoredSecret::new(&login.to_string()).await;
        let settings = aws.settings(&[("DATABASE_SECRET_ARN", &secret.arn)]);
        let world = using(world, &settings).await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        assert_eq!(sessions(&world, &role).await, 1);
    }

    /// They may name a proxy where the secret names the server.
    async fn the_settings_go_before_the_secret(world: World) {
        let aws = SecretsManager::new().await;
        let role = create_role(&world, "p1").await;
        let mut login = login(&role, "p1");
        login["host"] = json!("nowhere.example.com");
        login["port"] = json!(1);
        login["dbname"] = json!("another");
        let (secret, _) = StoredSecret::new(&login.to_string()).await;
        let settings = settings(&world, &aws, &secret);
        let world = using(world, &settings).await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
    }

    async fn a_secret_that_is_no_login_is_a_503_until_it_is_one(world: World) {
        let aws = SecretsManager::new().await;
        let role = create_role(&world, "p1").await;
        let (secret, _) = StoredSecret::new("p1-is-not-json").await;
        let mut settings = settings(&world, &aws, &secret);
        settings.remove("DATABASE_NAME");
        let world = using(world, &settings).await;
        away(&sign_up(&world, "ann").await);

        let name = world.database().name.clone();
        let malformed = [
            json!({}),
            json!(["p1"]),
            json!({ "username": role, "dbname": name }),
            json!({ "password": "p1", "dbname": name }),
            json!({ "username": role, "password": 1, "dbname": name }),
            json!({ "username": role, "password": "p1", "dbname": name, "port": 65536 }),
            // Neither it nor the settings name the database.
            json!({ "username": role, "password": "p1" }),
            json!({ "username": role, "password": "p1", "dbname": "" }),
        ];
        for login in malformed {
            secret.rotate(&login.to_string()).await;
            away(&sign_up(&world, "ann").await);
        }
        let login = json!({ "username": role, "password": "p1", "dbname": name });
        secret.rotate(&login.to_string()).await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
    }

    async fn secrets_manager_down_at_start_costs_no_restart(world: World) {
        let mut aws = SecretsManager::unreachable().await;
        let role = create_role(&world, "p1").await;
        let (secret, _) = StoredSecret::new(&login(&role, "p1").to_string()).await;
        let settings = settings(&world, &aws, &secret);
        let world = using(world, &settings).await;
        away(&sign_up(&world, "ann").await);
        away(&world.get("/health").await);

        aws.open();
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        assert_eq!(aws.fetched(), ONCE);
    }

    /// As many as wait for the first fetch share its failure: nobody waits for a queue of them.
    async fn a_mute_secrets_manager_keeps_everybody_waiting_once(world: World) {
        let (world, aws, _) = managed(world, "p1").await;
        aws.goes_mute();
        let requests = (0..8).map(|_| Request::get("/posts"));
        for answer in world.send_at_once(requests).await {
            away(&answer);
        }
        // One attempt, and another when its time is up.
        assert_eq!(aws.fetched(), ["AWSCURRENT", "AWSCURRENT"]);
        aws.recovers();
        assert_eq!(sign_up(&world, "ann").await.status, 201);
    }

    async fn a_password_that_is_rotated_in_mid_flight_costs_one_fetch(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        assert_eq!(aws.fetched(), ONCE);

        change_password(&world, &secret, "p2").await;
        // Whoever is connected stays so, and asks for nothing.
        assert_eq!(sign_up(&world, "bob").await.status, 201);
        assert_eq!(aws.fetched(), NEVER);

        cut_off(&world).await;
        let list = world.get("/posts").await;
        assert_eq!((list.status.as_u16(), list.json()), (200, json!([])));
        assert_eq!(sign_up(&world, "cid").await.status, 201);
        assert_eq!(aws.fetched(), ONCE);

        change_password(&world, &secret, "p3").await;
        cut_off(&world).await;
        let answers = world.send_at_once((0..8).map(|_| Request::get("/posts"))).await;
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(aws.fetched(), ONCE);
    }

    /// The one that is refused late finds the new login there, and takes it.
    async fn of_two_that_are_refused_one_fetches_for_both(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        let mut proxy = None;
        let world = world
            .configured(|config| proxy = config.database.as_mut().map(Proxy::before))
            .await;
        let proxy = proxy.unwrap();
        assert_eq!(world.get("/posts").await.status, 200);
        assert_eq!(aws.fetched(), ONCE);

        change_password(&world, &secret, "p2").await;
        cut_off(&world).await;
        proxy.heard();
        proxy.hold_newcomers();
        let late = world.get("/posts");
        let early = async {
            proxy.hears(|said| matches!(said, Said::Startup(_))).await;
            proxy.pass_later_ones();
            let early = world.get("/posts").await;
            proxy.thaw();
            early
        };
        let (late, early) = tokio::join!(late, early);
        assert_eq!((early.status.as_u16(), early.json()), (200, json!([])));
        assert_eq!((late.status.as_u16(), late.json()), (200, json!([])));
        assert_eq!(aws.fetched(), ONCE);
    }

    /// A rotation between two users refuses the first by another code than a wrong password's.
    async fn a_user_that_is_rotated_in_mid_flight_costs_one_fetch(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        let (first, second) = (role(&world), format!("{}_clone", role(&world)));
        world
            .sql
            .batch_execute(&format!(
                "create role {second} login password 'p2' in role {first}; alter role {first} nologin"
            ))
            .await
            .unwrap();
        secret.rotate(&login(&second, "p2").to_string()).await;
        cut_off(&world).await;
        assert_eq!(world.get("/posts").await.status, 200);
        assert_eq!(sign_up(&world, "bob").await.status, 201);
        assert_eq!(sessions(&world, &second).await, 1);
        assert_eq!(aws.fetched(), ["AWSCURRENT", "AWSCURRENT"]);
    }

    async fn a_password_that_is_wrong_for_good_is_fetched_once_an_attempt(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        secret.rotate(&login(&role(&world), "wrong").to_string()).await;
        away(&sign_up(&world, "ann").await);
        assert_eq!(aws.fetched(), ["AWSCURRENT", "AWSCURRENT"]);
        for _ in 0..3 {
            away(&sign_up(&world, "ann").await);
            assert_eq!(aws.fetched(), ONCE);
        }
        // The server learns what the secret says.
        let make_right = format!("alter role {} password 'wrong'", role(&world));
        world.sql.batch_execute(&make_right).await.unwrap();
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        assert_eq!(aws.fetched(), NEVER);
    }

    async fn a_rotation_that_cannot_be_fetched_is_a_503_until_it_can(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        assert_eq!(sign_up(&world, "ann").await.status, 201);
        change_password(&world, &secret, "p2").await;
        cut_off(&world).await;
        aws.goes_down();
        away(&world.get("/health").await);
        away(&sign_up(&world, "bob").await);
        assert_eq!(world.number("select count(*) from users").await, 1);

        aws.recovers();
        assert_eq!(sign_up(&world, "bob").await.status, 201);
        assert_eq!(world.number("select count(*) from users").await, 2);
    }

    /// An answer that cannot be read may hold the secret all the same, and a refusal names it.
    async fn what_secrets_manager_says_is_not_repeated_in_the_log(world: World) {
        let (world, aws, secret) = managed(world, "p1").await;
        let database = world.config.database.as_ref().unwrap();
        let cut_off = r#"{"SecretString": "hunter2", "VersionId": "#;
        aws.says(StatusCode::OK, cut_off);
        let cause = shared::db::connect(database).await.unwrap_err().cause();
        assert!(cause.starts_with("Secrets Manager: ") && !cause.contains("hunter2"), "{cause}");

        let incomplete = r#"{"SecretString": "hunter2"}"#;
        aws.says(StatusCode::OK, incomplete);
        let cause = shared::db::connect(database).await.unwrap_err().cause();
        assert_eq!(cause, "there is no such secret");

        let no_login = r#"{"SecretString": "hunter2", "VersionId": "v"}"#;
        aws.says(StatusCode::OK, no_login);
        let cause = shared::db::connect(database).await.unwrap_err().cause();
        assert_eq!(cause, "The database's secret is not the JSON of a login.");

        let message = format!("User: x is not authorized to perform: y on resource: {}", secret.arn);
        let refusal = json!({ "__type": "AccessDeniedException", "Message": message });
        aws.says(StatusCode::BAD_REQUEST, &refusal.to_string());
        let cause = shared::db::connect(database).await.unwrap_err().cause();
        assert_eq!(cause, "Secrets Manager: AccessDeniedException");
        away(&sign_up(&world, "ann").await);
    }
}

/// The world's API, with the login of a role of its own in a secret of its own, and a password as given.
async fn managed(world: World, password: &str) -> (World, SecretsManager, StoredSecret) {
    let aws = SecretsManager::new().await;
    let role = create_role(&world, password).await;
    let (secret, _) = StoredSecret::new(&login(&role, password).to_string()).await;
    let settings = settings(&world, &aws, &secret);
    (using(world, &settings).await, aws, secret)
}

/// The world's API with these settings of its database.
async fn using(world: World, settings: &HashMap<String, String>) -> World {
    let settings = Settings::from_lookup(|name| settings.get(name).cloned());
    let database = Database::read(&settings, DEFAULTS).unwrap();
    world.configured(|config| config.database = database).await
}

/// The settings that name the secret, and the place of the world's database.
fn settings(world: &World, aws: &SecretsManager, secret: &StoredSecret) -> HashMap<String, String> {
    let place = world.database();
    aws.settings(&[
        ("DATABASE_SECRET_ARN", &secret.arn),
        ("DATABASE_HOSTNAME", &place.hostname),
        ("DATABASE_PORT", &place.port.to_string()),
        ("DATABASE_NAME", &place.name),
    ])
}

/// Roles are the server's, databases the tests': a role is named after its test's database.
fn role(world: &World) -> String {
    format!("role_of_{}", world.database().name)
}

/// A role that may do what the API does.
async fn create_role(world: &World, password: &str) -> String {
    let role = role(world);
    world
        .sql
        .batch_execute(&format!(
            "create role {role} login password '{password}'; grant all on all tables in schema public to {role}"
        ))
        .await
        .unwrap();
    role
}

fn login(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

/// As a rotation does it: first the server, then the secret.
async fn change_password(world: &World, secret: &StoredSecret, password: &str) {
    let role = role(world);
    let change = format!("alter role {role} password '{password}'");
    world.sql.batch_execute(&change).await.unwrap();
    secret.rotate(&login(&role, password).to_string()).await;
}

/// Ends every connection of the API, and waits until the server is rid of them.
async fn cut_off(world: &World) {
    world
        .rows(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
            &[],
        )
        .await;
}

/// How many connections to the world's database a role has.
async fn sessions(world: &World, role: &str) -> i64 {
    world
        .number(&format!(
            "select count(*) from pg_stat_activity where datname = current_database() and usename = '{role}'"
        ))
        .await
}

async fn sign_up(world: &World, name: &str) -> Answer {
    let user = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
    world.post("/users/", user).await
}

#[track_caller]
fn away(answer: &Answer) {
    answer.assert_detail(503, "Service Unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

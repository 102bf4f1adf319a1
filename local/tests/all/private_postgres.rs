//! The private PostgreSQL of `cargo local` and of these tests: created, found again, fetched, recovered.

mod folder;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use local::data::Data;
use local::postgres::{DATABASE, Server, Source, running};
use tokio::time::timeout;
use tokio_postgres::Client;

pub(crate) use folder::{Folder, connect, ended, try_connect};

#[tokio::test]
async fn a_database_is_made_once_and_its_data_survive_a_restart() {
    let folder = Folder::new("restart");
    let (server, said) = folder.start(false).await.unwrap();
    assert!(said[0].starts_with("Creating a PostgreSQL "), "{said:?}");
    let client = connect(server.connection()).await;
    client
        .batch_execute("create table kept as select 42 as number")
        .await
        .unwrap();
    server.stop().await.unwrap();

    let (server, said) = folder.start(false).await.unwrap();
    assert!(said[0].starts_with("Starting PostgreSQL "), "{said:?}");
    let client = connect(server.connection()).await;
    assert_eq!(number(&client, "select number from kept").await, 42);
    server.stop().await.unwrap();

    let (server, _) = folder.start(true).await.unwrap();
    let client = connect(server.connection()).await;
    assert_eq!(
        number(
            &client,
            "select count(*)::int from pg_class where relname = 'kept'"
        )
        .await,
        0
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn letters_of_every_alphabet_have_two_cases_and_sort_by_code_point() {
    let folder = Folder::new("letters");
    let (server, _) = folder.start(false).await.unwrap();
    assert_suits_us(&connect(server.connection()).await).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn where_none_is_installed_it_is_fetched() {
    let folder = Folder::new("fetched");
    let source = Source::Fetch;
    let mut said = Vec::new();
    let mut say = |line: &str| said.push(line.to_owned());
    let server = Server::start(&folder.home(), &source, false, &mut say)
        .await
        .unwrap();
    assert_eq!(server.version(), "18.6");
    assert_suits_us(&connect(server.connection()).await).await;
    server.stop().await.unwrap();
    assert!(
        said[0].starts_with("Fetching PostgreSQL 18.6, once"),
        "{said:?}"
    );

    let server = Server::start_throwaway(&folder.base.join("throwaways"), &source)
        .await
        .unwrap();
    assert_suits_us(&connect(server.connection()).await).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_wants_the_password_and_does_not_show_it() {
    let folder = Folder::new("password");
    let (server, _) = folder.start(false).await.unwrap();
    let mut connection = server.connection().clone();
    let shown = format!("{connection:?}");
    assert_eq!(
        shown,
        format!(
            "Connection(postgres@127.0.0.1:{}/{DATABASE})",
            connection.port
        )
    );
    let password = fs::metadata(folder.home().join("database/password")).unwrap();
    assert_eq!(password.mode() & 0o777, 0o600);
    connection.password = "guess".to_owned();
    assert!(try_connect(&connection).await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_data_is_refused_and_told_how_to_reach_the_first() {
    let folder = Folder::new("second");
    assert_eq!(running(&folder.home()), None);
    let (server, _) = folder.start(false).await.unwrap();
    assert_eq!(running(&folder.home()).as_ref(), Some(server.connection()));
    let refusal = folder.start(false).await.err().unwrap().to_string();
    assert!(
        refusal.contains("is already running, for another process"),
        "{refusal}"
    );
    assert!(folder.start(true).await.is_err());
    try_connect(server.connection()).await.unwrap();
    server.stop().await.unwrap();
    assert_eq!(running(&folder.home()), None);
}

#[tokio::test]
async fn a_server_that_outlived_its_owner_is_stopped_first() {
    let folder = Folder::new("orphan");
    let (server, _) = folder.start(false).await.unwrap();
    let data = fs::canonicalize(folder.home().join("database/data")).unwrap();
    let programs = programs_of(&data);
    server.stop().await.unwrap();
    let port = server_without_owner(&programs, &data, &folder.home());

    let (server, said) = folder.start(false).await.unwrap();
    assert!(
        said[0].starts_with("Stopped a PostgreSQL that a killed run"),
        "{said:?}"
    );
    ended(port).await;
    try_connect(server.connection()).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_number_of_a_dead_server_may_be_somebody_elses_by_now() {
    let folder = Folder::new("number");
    let (server, _) = folder.start(false).await.unwrap();
    server.stop().await.unwrap();
    // A process of the server's own account: the server, asked, would believe that this is another server.
    let data = folder.home().join("database/data");
    let mut bystander = as_owner_of(&data, "sleep").arg("60").spawn().unwrap();
    let stale = format!(
        "{}\n{}\n0\n1\n\n127.0.0.1\n\nready\n",
        bystander.id(),
        data.display()
    );
    fs::write(data.join("postmaster.pid"), stale).unwrap();

    let (server, _) = folder.start(false).await.unwrap();
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "it was stopped in the server's stead"
    );
    server.stop().await.unwrap();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn a_database_that_was_never_finished_is_made_anew() {
    let folder = Folder::new("half");
    let home = folder.home();
    {
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let mut say = move |line: &str| told.send(line.to_owned()).unwrap();
        let start = Server::start(&home, &Source::Search, false, &mut say);
        tokio::select! {
            biased;
            _ = start => panic!("too quick to be interrupted"),
            line = hears.recv() => assert!(line.unwrap().starts_with("Creating")),
        }
    }
    let unfinished = || {
        let place = fs::read_link(home.join("database"))
            .map_or(home.clone(), |link| link.parent().unwrap().into());
        let entries = fs::read_dir(place).unwrap().flatten();
        entries
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("database.new")
            })
            .count()
    };
    assert_eq!(unfinished(), 1);
    let (server, _) = folder.start(false).await.unwrap();
    assert_eq!(unfinished(), 0);
    try_connect(server.connection()).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_another_version_are_left_alone_unless_told_otherwise() {
    let folder = Folder::new("version");
    let (server, _) = folder.start(false).await.unwrap();
    server.stop().await.unwrap();
    let version = folder.home().join("database/data/PG_VERSION");
    fs::write(&version, "9\n").unwrap();
    let refusal = folder.start(false).await.err().unwrap().to_string();
    assert!(
        refusal.starts_with("The database was made by PostgreSQL 9, and here is "),
        "{refusal}"
    );
    assert!(refusal.contains("--fresh"), "{refusal}");
    assert_eq!(fs::read_to_string(&version).unwrap(), "9\n");
    folder.start(true).await.unwrap().0.stop().await.unwrap();
}

#[tokio::test]
async fn it_runs_where_only_its_owner_may_look() {
    let folder = Folder::new("private");
    fs::set_permissions(&folder.base, Permissions::from_mode(0o700)).unwrap();
    for fresh in [false, false, true] {
        let (server, _) = folder.start(fresh).await.unwrap();
        assert_eq!(running(&folder.home()).as_ref(), Some(server.connection()));
        try_connect(server.connection()).await.unwrap();
        server.stop().await.unwrap();
    }
    let server = Server::start_throwaway(&folder.home(), &Source::Search)
        .await
        .unwrap();
    try_connect(server.connection()).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_that_want_another_password_are_told_with_what_helps() {
    let folder = Folder::new("forgotten");
    let (server, _) = folder.start(false).await.unwrap();
    let password = server.password_file();
    server.stop().await.unwrap();
    fs::write(password, "guess").unwrap();
    let refusal = folder.start(false).await.err().unwrap().to_string();
    assert_eq!(
        refusal,
        "The database refuses the password that is kept beside it; --fresh makes a new one and deletes the data"
    );
    let (server, _) = folder.start(true).await.unwrap();
    try_connect(server.connection()).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_without_the_programs_is_named() {
    let folder = Folder::new("empty");
    let source: Source = folder.base.to_str().unwrap().parse().unwrap();
    let refusal = Server::start(&folder.home(), &source, false, &mut |_| ())
        .await
        .err()
        .unwrap();
    let expected = format!(
        "LOCAL_POSTGRES: {} does not hold `postgres`, `initdb` and `pg_ctl`",
        folder.base.display()
    );
    assert_eq!(refusal.to_string(), expected);
}

#[tokio::test]
async fn a_crash_is_reported_with_the_servers_last_words() {
    let folder = Folder::new("crash");
    let (mut server, _) = folder.start(false).await.unwrap();
    let asked = timeout(Duration::ZERO, server.stopped()).await;
    assert!(asked.is_err(), "it has not stopped");
    let data = folder.home().join("database/data");
    let postmaster = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let postmaster = postmaster.lines().next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-QUIT", postmaster])
            .status()
            .unwrap()
            .success()
    );
    let report = server.stopped().await.to_string();
    assert!(report.starts_with("PostgreSQL stopped ("), "{report}");
    assert!(
        report.contains("received immediate shutdown request"),
        "{report}"
    );
    server.stop().await.unwrap();
    folder.start(false).await.unwrap().0.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_ends() {
    let folder = Folder::new("dropped");
    let (server, _) = folder.start(false).await.unwrap();
    let port = server.connection().port;
    drop(server);
    ended(port).await;
    folder.start(false).await.unwrap().0.stop().await.unwrap();
}

#[tokio::test]
async fn a_throwaway_leaves_nothing_behind_and_sweeps_up_after_the_killed() {
    let folder = Folder::new("throwaway");
    let parent = folder.home();
    let runs = || {
        fs::read_dir(&parent)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    };
    // What a killed process leaves is what a dropped server leaves: the kernel lets go of its lock and its pipe.
    let killed = Server::start_throwaway(&parent, &Source::Search)
        .await
        .unwrap();
    let port = killed.connection().port;
    drop(killed);
    assert_eq!(runs(), 1);
    ended(port).await;

    let (first, second) = tokio::join!(
        Server::start_throwaway(&parent, &Source::Search),
        Server::start_throwaway(&parent, &Source::Search),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(runs(), 2);
    try_connect(first.connection()).await.unwrap();
    let client = connect(second.connection()).await;
    assert_eq!(setting(&client, "fsync").await, "off");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert_eq!(runs(), 0);
}

#[tokio::test]
async fn what_earlier_versions_kept_in_the_target_folder_is_moved_out_of_it() {
    for (name, mode) in [("moved", 0o755), ("moved-private", 0o700)] {
        let folder = Folder::new(name);
        let target = folder.base.join("target");
        let data = Data::new(folder.base.join("kept"), Some(target.clone()));
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, Permissions::from_mode(mode)).unwrap();
        let mut say = |_: &str| ();
        let old = target.join("postgres");
        let server = Server::start(&old, &Source::Search, false, &mut say)
            .await
            .unwrap();
        let client = connect(server.connection()).await;
        let kept = "create table kept as select 42 as number";
        client.batch_execute(kept).await.unwrap();
        let key = "the key that signed until now, 32 bytes";
        fs::write(target.join("local-secret-key"), key).unwrap();

        let refusal = data.prepare_database(&mut say).await.unwrap_err();
        assert!(refusal.to_string().contains("already running"), "{refusal}");
        server.stop().await.unwrap();

        let mut said = Vec::new();
        let mut tell = |line: &str| said.push(line.to_owned());
        data.prepare_database(&mut tell).await.unwrap();
        data.prepare_database(&mut tell).await.unwrap();
        let (from, to) = (old.display(), data.database());
        assert_eq!(
            said,
            [format!(
                "Moved the database from {from} to {}.",
                to.display()
            )]
        );
        assert!(!old.exists());
        assert_eq!(data.key().unwrap(), key);
        assert!(!target.join("local-secret-key").exists());

        let server = Server::start(&data.database(), &Source::Search, false, &mut say)
            .await
            .unwrap();
        let client = connect(server.connection()).await;
        assert_eq!(number(&client, "select number from kept").await, 42);
        server.stop().await.unwrap();
        assert_eq!(
            fs::read_to_string(folder.base.join("kept/.gitignore")).unwrap(),
            "*\n"
        );
        // Where there are data already, older ones are left alone.
        fs::create_dir_all(old.join("database")).unwrap();
        data.prepare_database(&mut say).await.unwrap();
        assert!(old.join("database").exists());
        let link = fs::read_link(data.database().join("database")).ok();
        if let Some(stand_in) = link.map(|link| link.components().take(4).collect::<PathBuf>()) {
            fs::remove_dir_all(stand_in).unwrap();
        }
    }
}

/// What the API's statements need of whichever server it is.
async fn assert_suits_us(client: &Client) {
    client
        .batch_execute("create extension pg_trgm")
        .await
        .unwrap();
    let row = client
        .query_one(
            "select lower('ÜПРИВЕТ'), upper('üпривет'), 'ÄПР' ilike 'äпр', 'é' > 'z', 'b' > 'B',
                    cardinality(show_trgm('Привет'))",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "üпривет");
    assert_eq!(row.get::<_, &str>(1), "ÜПРИВЕТ");
    assert!(row.get::<_, bool>(2) && row.get::<_, bool>(3) && row.get::<_, bool>(4));
    assert_eq!(row.get::<_, i32>(5), 7);
    for (name, value) in [
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
    ] {
        assert_eq!(setting(client, name).await, value, "{name}");
    }
}

async fn setting(client: &Client, name: &str) -> String {
    client
        .query_one("select current_setting($1)", &[&name])
        .await
        .unwrap()
        .get(0)
}

async fn number(client: &Client, statement: &str) -> i32 {
    client.query_one(statement, &[]).await.unwrap().get(0)
}

fn programs_of(data: &Path) -> PathBuf {
    let postmaster = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = postmaster.lines().next().unwrap();
    let shown = Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", pid])
        .output()
        .unwrap();
    let program = String::from_utf8(shown.stdout).unwrap();
    Path::new(program.split(" -D ").next().unwrap())
        .parent()
        .unwrap()
        .to_owned()
}

fn server_without_owner(programs: &Path, data: &Path, home: &Path) -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let log = fs::File::create(home.join("orphan.log")).unwrap();
    let started = as_owner_of(data, programs.join("pg_ctl"))
        .args(["start", "-w", "-D"])
        .arg(data)
        .arg("-o")
        .arg(format!(
            "-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        ))
        .stdout(log)
        .status()
        .unwrap();
    assert!(started.success());
    port
}

/// A command run by whoever the server runs as.
fn as_owner_of(data: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let owner = fs::metadata(data).unwrap();
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null());
    if owner.uid()
        != fs::metadata(data.ancestors().nth(2).unwrap())
            .unwrap()
            .uid()
    {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command
}

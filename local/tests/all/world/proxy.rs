//! A proxy before PostgreSQL that listens to what the API says, and can come between the two.

use std::{
    mem,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use shared::config::Database;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// The code of a message that asks for encryption, in the place of a protocol version.
const ASKS_FOR: [u32; 2] = [80_877_103, 80_877_104];
/// The code of a message that cancels a statement of another connection.
const CANCEL: u32 = 80_877_102;

/// Forwards connections to a PostgreSQL. Ends with this value, and its connections with it.
pub(crate) struct Proxy {
    heard: Arc<watch::Sender<Vec<Said>>>,
    weather: watch::Sender<Weather>,
    port: Arc<AtomicU16>,
}

/// What the API has said to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A connection begins, with these parameters.
    Startup(Vec<(String, String)>),
    /// Whether the connection can be encrypted.
    AsksForEncryption,
    /// A statement of another connection shall end.
    Cancel,
    /// A statement in the simple protocol.
    Query(String),
    /// A statement in the extended protocol; unnamed, it lives until the next.
    Parse { name: String, sql: String },
    /// Any other message, by its type: `B`ind, `D`escribe, `E`xecute, `S`ync, …
    Other(char),
}

impl Said {
    /// Whether the server shall answer now: a statement ends so, and what prepares one.
    pub(crate) fn asks_for_an_answer(&self) -> bool {
        matches!(self, Self::Other('S'))
    }
}

/// What befalls the connections.
#[derive(Clone, Copy, Default)]
struct Weather {
    holds_words: bool,
    holds_answers: bool,
    newcomers: Newcomers,
    /// How often everything was cut. A connection ends when it sees another number than at its start.
    cuts: u32,
    /// How often the server's half was closed.
    half_closes: u32,
    /// How often the network forgot every connection.
    forgettings: u32,
}

/// What befalls the connections that begin in a certain time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Newcomers {
    /// There are none.
    #[default]
    Pass,
    /// It is now: answers to whoever begins are held up.
    Begin,
    /// It is over, and their answers are held up still.
    Wait,
}

impl Proxy {
    /// A proxy before this database, which is then reached through it.
    pub(crate) fn before(database: &mut Database) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let hostname = database.hostname.clone();
        let port = Arc::new(AtomicU16::new(database.port));
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("127.0.0.1 is of IPv4");
        };
        database.hostname = address.ip().to_string();
        database.port = address.port();
        let heard = Arc::new(watch::Sender::new(Vec::new()));
        let (weather, forecast) = watch::channel(Weather::default());
        let server = (hostname, Arc::clone(&port));
        tokio::spawn(accept(listener, server, Arc::clone(&heard), forecast));
        Self {
            heard,
            weather,
            port,
        }
    }

    /// What was said since this was last asked. All that a request says is here when its answer is.
    pub(crate) fn heard(&self) -> Vec<Said> {
        let mut heard = Vec::new();
        self.heard.send_modify(|said| heard = mem::take(said));
        heard
    }

    /// Waits until something has been said since [`Proxy::heard`] was last asked. Whether it passes, the
    /// weather decides.
    pub(crate) async fn hears(&self, is_it: impl Fn(&Said) -> bool) {
        let mut heard = self.heard.subscribe();
        let said = heard.wait_for(|said| said.iter().any(&is_it)).await;
        said.expect("the proxy holds the sender");
    }

    /// Nothing passes any more, either way; connections stay open, and new ones are taken.
    pub(crate) fn freeze(&self) {
        self.weather.send_modify(|weather| {
            weather.holds_words = true;
            weather.holds_answers = true;
        });
    }

    /// PostgreSQL hears everything, and its answers do not pass any more.
    pub(crate) fn hold_answers(&self) {
        self.weather
            .send_modify(|weather| weather.holds_answers = true);
    }

    /// Answers to connections that begin from now on do not pass.
    pub(crate) fn hold_newcomers(&self) {
        self.weather
            .send_modify(|weather| weather.newcomers = Newcomers::Begin);
    }

    /// Whoever begins from now on is no newcomer; answers to those who were are held up still.
    pub(crate) fn pass_later_ones(&self) {
        self.weather
            .send_modify(|weather| weather.newcomers = Newcomers::Wait);
    }

    /// What was held up passes, and all that follows.
    pub(crate) fn thaw(&self) {
        self.weather.send_modify(|weather| {
            weather.holds_words = false;
            weather.holds_answers = false;
            weather.newcomers = Newcomers::Pass;
        });
    }

    /// New connections lead to this port from now on.
    pub(crate) fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// Every connection ends, on both sides. New ones are forwarded as before.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// The server seems to have closed its half of every connection, and still hears what the API says.
    pub(crate) fn half_close(&self) {
        self.weather.send_modify(|weather| weather.half_closes += 1);
    }

    /// Nothing passes any more on the connections that there are, which both sides take for open. New ones are
    /// forwarded as before.
    pub(crate) fn forget(&self) {
        self.weather.send_modify(|weather| weather.forgettings += 1);
    }
}

async fn accept(
    listener: TcpListener,
    server: (String, Arc<AtomicU16>),
    heard: Arc<watch::Sender<Vec<Said>>>,
    mut weather: watch::Receiver<Weather>,
) {
    loop {
        let client = tokio::select! {
            client = listener.accept() => client.unwrap().0,
            // The proxy is gone.
            _ = weather.wait_for(|_| false) => return,
        };
        let at_start = *weather.borrow();
        let server = (server.0.clone(), server.1.load(Ordering::Relaxed));
        let (heard, weather) = (Arc::clone(&heard), weather.clone());
        tokio::spawn(async move {
            // A server that is not there closes the connection.
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let mut listens = Listener::new(heard);
            let is_newcomer = at_start.newcomers == Newcomers::Begin;
            let is_cut = |weather: &Weather| weather.cuts != at_start.cuts;
            let is_forgotten = |weather: &Weather| weather.forgettings != at_start.forgettings;
            let words = forward(
                from_client,
                to_server,
                weather.clone(),
                |weather| weather.holds_words || is_forgotten(weather),
                is_cut,
                |bytes| listens.hear(bytes),
            );
            let answers = forward(
                from_server,
                to_client,
                weather,
                |weather| {
                    let holds_this = is_newcomer && weather.newcomers != Newcomers::Pass;
                    weather.holds_answers || holds_this || is_forgotten(weather)
                },
                |weather| is_cut(weather) || weather.half_closes != at_start.half_closes,
                |_| (),
            );
            tokio::join!(words, answers);
        });
    }
}

/// Forwards one way until one side ends or the weather ends it.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: watch::Receiver<Weather>,
    is_held: impl Fn(&Weather) -> bool,
    is_ended: impl Fn(&Weather) -> bool,
    mut listens: impl FnMut(&[u8]),
) {
    let (mut holds, mut ends) = (weather.clone(), weather);
    let forwarding = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            listens(&bytes[..length]);
            let until = |weather: &Weather| !is_held(weather) || is_ended(weather);
            let passes = holds.wait_for(until).await.is_ok_and(|now| !is_ended(&now));
            if !passes || to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forwarding => {}
        _ = ends.wait_for(&is_ended) => {}
    }
    let _ = to.shutdown().await;
}

/// Understands one connection's messages to the server (PostgreSQL manual, section 54.7).
struct Listener {
    heard: Arc<watch::Sender<Vec<Said>>>,
    /// What has come of a message whose end has not.
    begun: Vec<u8>,
    has_started: bool,
}

impl Listener {
    fn new(heard: Arc<watch::Sender<Vec<Said>>>) -> Self {
        Self {
            heard,
            begun: Vec::new(),
            has_started: false,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while let Some(said) = self.next_message() {
            self.heard.send_modify(|heard| heard.push(said));
        }
    }

    /// The next message, if all of it has come.
    fn next_message(&mut self) -> Option<Said> {
        // The first message has no type.
        let head = usize::from(self.has_started);
        let length = self.begun.get(head..head + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.begun.len() < head + length {
            return None;
        }
        let message: Vec<u8> = self.begun.drain(..head + length).collect();
        let body = &message[head + 4..];
        if self.has_started {
            return Some(Said::read(message[0].into(), body));
        }
        Some(match u32::from_be_bytes(body[..4].try_into().unwrap()) {
            code if ASKS_FOR.contains(&code) => Said::AsksForEncryption,
            CANCEL => Said::Cancel,
            _ => {
                self.has_started = true;
                let texts = texts(&body[4..]);
                let pairs = texts.chunks_exact(2);
                let parameters = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
                Said::Startup(parameters.collect())
            }
        })
    }
}

impl Said {
    fn read(kind: char, body: &[u8]) -> Self {
        match (kind, texts(body).as_slice()) {
            ('Q', [sql, ..]) => Self::Query(sql.clone()),
            ('P', [name, sql, ..]) => Self::Parse {
                name: name.clone(),
                sql: sql.clone(),
            },
            (kind, _) => Self::Other(kind),
        }
    }
}

/// The texts of a message, each of which ends with a zero.
fn texts(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

mod tests {
    use std::pin::pin;

    use serde_json::json;

    use super::Said;
    use crate::world::{Door, Request, World};

    #[tokio::test]
    async fn what_is_frozen_passes_when_it_thaws() {
        let (world, proxy) = World::behind_proxy(Door::Event).await;
        assert_eq!(world.get("/health").await.status, 200);
        proxy.heard();
        proxy.freeze();
        let mut health = pin!(world.get("/health"));
        tokio::select! {
            biased;
            answer = &mut health => panic!("{}", answer.text()),
            () = proxy.hears(Said::asks_for_an_answer) => proxy.thaw(),
        }
        assert_eq!(health.await.status, 200);
    }

    #[tokio::test]
    async fn what_is_done_may_lose_its_answer() {
        let (world, proxy) = World::behind_proxy(Door::Event).await;
        let ann = world.join("ann").await;
        let write = Request::post("/posts/")
            .bearer(&ann.access_token)
            .json(&json!({ "title": "title", "content": "content" }));
        proxy.heard();
        proxy.hold_answers();
        let lose = async {
            proxy.hears(Said::asks_for_an_answer).await;
            while world.number("select count(*) from posts").await == 0 {}
            proxy.cut();
            proxy.thaw();
        };
        let (answer, ()) = tokio::join!(world.send(write), lose);
        answer.assert_detail(503, "Service Unavailable");
        assert_eq!(world.number("select count(*) from posts").await, 1);
    }

    #[tokio::test]
    async fn what_only_reads_is_asked_again_when_the_connection_is_cut_or_half_closed() {
        let (world, proxy) = World::behind_proxy(Door::Event).await;
        assert_eq!(world.get("/health").await.status, 200);
        for fault in [super::Proxy::cut, super::Proxy::half_close] {
            proxy.freeze();
            proxy.heard();
            let come_between = async {
                proxy.hears(Said::asks_for_an_answer).await;
                fault(&proxy);
                proxy.thaw();
            };
            let (answer, ()) = tokio::join!(world.get("/posts/"), come_between);
            answer.assert(200, &json!([]));
            let startups = proxy.heard();
            let startups = startups
                .iter()
                .filter(|said| matches!(said, Said::Startup(_)));
            assert_eq!(startups.count(), 1);
        }
    }
}

//! The very statements that a function sends: heard on their way to PostgreSQL, to be sent again without it.

use std::{
    collections::HashMap,
    error::Error,
    mem,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Row,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{Failure, database::Database};

/// Stands between functions and a database, and writes down what is said.
pub(crate) struct Recorder {
    /// The database, as it is reached through here.
    pub(crate) database: Database,
    heard: Arc<Mutex<Vec<Statement>>>,
    server: JoinHandle<()>,
}

/// A statement and the parameters that it was sent with.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<(Raw, Type)>,
}

/// A value as it goes over the wire; `None` is null.
#[derive(Clone, Debug)]
pub(crate) struct Raw(pub(crate) Option<Vec<u8>>);

impl Recorder {
    pub(crate) async fn before(database: &Database) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let behind = database.behind(listener.local_addr()?.port());
        let to = (database.connection.host, database.connection.port);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = TcpStream::connect(to).await {
                        tokio::spawn(forward(client, server, Arc::clone(&heard)));
                    }
                }
            }
        });
        Ok(Self {
            database: behind,
            heard,
            server,
        })
    }

    /// What was said since this was last asked.
    pub(crate) fn heard(&self) -> Vec<Statement> {
        mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A client that does nothing but send statements, each prepared once, as the functions have them.
pub(crate) struct Bare {
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
}

impl Bare {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            prepared: HashMap::new(),
        }
    }

    pub(crate) async fn send(&mut self, statement: &Statement) -> Result<Vec<Row>, Failure> {
        let Statement { sql, parameters } = statement;
        if !self.prepared.contains_key(sql) {
            let types: Vec<_> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
            let prepared = self.client.prepare_typed(sql, &types).await?;
            self.prepared.insert(sql.clone(), prepared);
        }
        let values: Vec<_> = parameters
            .iter()
            .map(|(raw, _)| raw as &(dyn ToSql + Sync))
            .collect();
        Ok(self.client.query(&self.prepared[sql], &values).await?)
    }
}

impl Statement {
    /// Puts other bytes in the place of a parameter, counted from 1 as in SQL.
    pub(crate) fn set(&mut self, parameter: usize, bytes: &[u8]) {
        self.parameters[parameter - 1].0 = Raw(Some(bytes.to_vec()));
    }

    /// The statement as a script for pgbench. A parameter that `variable` names a variable for is sent as that
    /// variable's value, any other stands in the text.
    pub(crate) fn script(
        &self,
        variable: impl Fn(usize) -> Option<&'static str>,
    ) -> Result<String, Failure> {
        let mut pieces = self.sql.split('$');
        let mut script = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: usize = piece[..digits].parse()?;
            let (raw, kind) = &self.parameters[number - 1];
            match variable(number) {
                Some(name) => script.extend([":", name]),
                None => script.push_str(&raw.literal(kind)?),
            }
            script.extend(["::", kind.name(), &piece[digits..]]);
        }
        script.push_str(";\n");
        Ok(script)
    }
}

impl Raw {
    fn literal(&self, kind: &Type) -> Result<String, Failure> {
        let Some(bytes) = &self.0 else {
            return Ok("null".to_owned());
        };
        match *kind {
            Type::INT8 => Ok(i64::from_be_bytes(bytes.as_slice().try_into()?).to_string()),
            Type::BOOL => Ok((bytes == &[1]).to_string()),
            _ => Err(format!("a {kind} has no literal here").into()),
        }
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(bytes) = &self.0 else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

async fn forward(
    client: TcpStream,
    server: TcpStream,
    heard: Arc<Mutex<Vec<Statement>>>,
) -> Result<(), Failure> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let words = async {
        let mut bytes = Vec::new();
        let mut has_started = false;
        loop {
            let before = bytes.len();
            if from_client.read_buf(&mut bytes).await? == 0 {
                return Ok::<_, Failure>(());
            }
            let news = bytes[before..].to_vec();
            while let Some((kind, message)) = take_message(&mut bytes, &mut has_started) {
                hear(kind, &message, &heard);
            }
            to_server.write_all(&news).await?;
        }
    };
    let answers = async { Ok(copy(&mut from_server, &mut to_client).await?) };
    tokio::try_join!(words, answers)?;
    Ok(())
}

/// The type and the body of the next message, if all of it has come (PostgreSQL manual, section 55.7).
fn take_message(bytes: &mut Vec<u8>, has_started: &mut bool) -> Option<(u8, Vec<u8>)> {
    // The first message has no type.
    let head = usize::from(*has_started);
    let length: [u8; 4] = bytes.get(head..head + 4)?.try_into().ok()?;
    let end = head + usize::try_from(u32::from_be_bytes(length)).ok()?;
    if bytes.len() < end {
        return None;
    }
    let message: Vec<u8> = bytes.drain(..end).collect();
    let kind = if *has_started { message[0] } else { 0 };
    *has_started = true;
    Some((kind, message[head + 4..].to_vec()))
}

fn hear(kind: u8, message: &[u8], heard: &Mutex<Vec<Statement>>) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        b'P' => heard.extend(read_parse(message)),
        b'B' => {
            if let (Some(statement), Some(values)) = (heard.last_mut(), read_bind(message)) {
                for ((raw, _), value) in statement.parameters.iter_mut().zip(values) {
                    *raw = Raw(value);
                }
            }
        }
        _ => {}
    }
}

fn read_parse(message: &[u8]) -> Option<Statement> {
    let mut reader = Reader(message);
    reader.text()?;
    let sql = reader.text()?;
    let mut parameters = Vec::new();
    for _ in 0..reader.integer::<2>()? {
        let oid = u32::try_from(reader.integer::<4>()?).ok()?;
        parameters.push((Raw(None), Type::from_oid(oid)?));
    }
    Some(Statement { sql, parameters })
}

fn read_bind(message: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut reader = Reader(message);
    reader.text()?;
    reader.text()?;
    for _ in 0..reader.integer::<2>()? {
        reader.integer::<2>()?;
    }
    let mut values = Vec::new();
    for _ in 0..reader.integer::<2>()? {
        // A length of -1 is null.
        values.push(match reader.integer::<4>()? {
            0xffff_ffff => None,
            length => Some(reader.bytes(usize::try_from(length).ok()?)?.to_vec()),
        });
    }
    Some(values)
}

/// Reads the parts of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn integer<const SIZE: usize>(&mut self) -> Option<u64> {
        let bytes = self.bytes(SIZE)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    /// A text that ends with a zero.
    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(end + 1)?;
        String::from_utf8(text[..end].to_vec()).ok()
    }
}

//! The side of Lambda that a function sees: its Runtime API, as bare as it can be, one server an instance.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::Failure;

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// A running function, which waits for its next event.
pub(crate) struct Instance {
    child: Child,
    asked: mpsc::UnboundedReceiver<Asked>,
    /// How the call for the next event is answered.
    next: oneshot::Sender<Vec<u8>>,
    server: JoinHandle<()>,
    /// From the start of the process to its first call for an event.
    pub(crate) started_in: Duration,
}

/// A function's answer to an event.
pub(crate) struct Answer {
    /// As the function wrote it: JSON, with `statusCode`, `headers` and `body`.
    pub(crate) text: Vec<u8>,
    /// From sending the event until the function asked for the next one, which is what Lambda bills.
    pub(crate) took: Duration,
}

/// A call of the function's.
struct Asked {
    call: Call,
    reply: oneshot::Sender<Vec<u8>>,
}

enum Call {
    Next,
    Response(Vec<u8>),
    Error(Vec<u8>),
}

impl Instance {
    /// Starts a function with these settings and nothing else in its environment. Its log goes nowhere.
    pub(crate) async fn start(
        program: &Path,
        settings: &[(&str, String)],
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, mut asked) = mpsc::unbounded_channel();
        let server = tokio::spawn(accept(listener, sender));
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .envs(lambda_environment(address))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let first = tokio::select! {
            first = asked.recv() => first.ok_or("the server of the Runtime API ended")?,
            status = child.wait() => {
                return Err(format!("{} ended at its start: {}", program.display(), status?).into());
            }
        };
        let started_in = begun.elapsed();
        let Call::Next = first.call else {
            return Err(format!("{} cannot start", program.display()).into());
        };
        Ok(Self {
            child,
            asked,
            next: first.reply,
            server,
            started_in,
        })
    }

    /// Sends an event and waits until the function is ready for the next one. Fails unless the answer has
    /// one of these statuses.
    pub(crate) async fn invoke(
        &mut self,
        event: &str,
        statuses: &[u16],
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let (placeholder, _) = oneshot::channel();
        let next = std::mem::replace(&mut self.next, placeholder);
        next.send(next_event(event))
            .map_err(|_| "the function hung up")?;
        let answered = self.asked.recv().await.ok_or("the function ended")?;
        let text = match answered.call {
            Call::Response(text) => text,
            Call::Error(text) => {
                return Err(format!("the function failed: {}", shown(&text)).into());
            }
            Call::Next => return Err("the function asked for another event instead".into()),
        };
        answered
            .reply
            .send(ACCEPTED.to_vec())
            .map_err(|_| "the function hung up")?;
        let asked = self.asked.recv().await.ok_or("the function ended")?;
        let Call::Next = asked.call else {
            return Err("the function answered twice".into());
        };
        self.next = asked.reply;
        let took = begun.elapsed();
        // The adapter writes the status first.
        let is_expected = text
            .strip_prefix(b"{\"statusCode\":")
            .and_then(|rest| str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
            .is_some_and(|status| statuses.contains(&status));
        if !is_expected {
            return Err(format!("{event}\nwas answered with {}", shown(&text)).into());
        }
        Ok(Answer { text, took })
    }

    /// The most memory that the process ever had, in bytes, where the kernel says so.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Ends the function.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        self.server.abort();
        Ok(())
    }
}

fn lambda_environment(address: SocketAddr) -> [(&'static str, String); 6] {
    [
        ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "function".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            "/aws/lambda/function".to_owned(),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream".to_owned()),
    ]
}

fn next_event(event: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
         Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:function\r\n\
         Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0\r\n\
         Content-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .into_bytes()
}

async fn accept(listener: TcpListener, asked: mpsc::UnboundedSender<Asked>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, asked.clone()));
    }
}

/// What an extension hears when it has registered.
const REGISTERED: &[u8] =
    b"HTTP/1.1 200 OK\r\nlambda-extension-identifier: 1\r\ncontent-length: 2\r\n\r\n{}";

/// Reads calls and writes replies until the function hangs up.
async fn serve(mut stream: TcpStream, asked: mpsc::UnboundedSender<Asked>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let Some((length, head)) = read_head(&mut stream, &mut bytes).await? else {
            return Ok(());
        };
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let body = || bytes[head..head + length].to_vec();
        let line = bytes
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        // The functions register an extension, to be told before their end, and no event ever comes for it.
        if line.starts_with(b"GET /2020-01-01/extension/event/next ") {
            stream.read_buf(&mut bytes).await?;
            return Ok(());
        }
        if line.starts_with(b"POST /2020-01-01/extension/register ") {
            bytes.drain(..head + length);
            stream.write_all(REGISTERED).await?;
            continue;
        }
        let call = if line.starts_with(b"GET ") {
            Call::Next
        } else if line.ends_with(b"/response HTTP/1.1") {
            Call::Response(body())
        } else {
            Call::Error(body())
        };
        bytes.drain(..head + length);
        let (reply, replied) = oneshot::channel();
        if asked.send(Asked { call, reply }).is_err() {
            return Ok(());
        }
        let Ok(reply) = replied.await else {
            return Ok(());
        };
        stream.write_all(&reply).await?;
    }
}

/// Reads until the end of a request's head, and says how long its body and how long the head is.
async fn read_head(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
) -> Result<Option<(usize, usize)>, Failure> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]);
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(Ok(0), |(_, length)| length.parse())?;
            return Ok(Some((length, end + 4)));
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn shown(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

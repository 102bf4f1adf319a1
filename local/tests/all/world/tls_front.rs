//! TLS before a PostgreSQL that was built without it: the one that is fetched where none is installed.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use rustls::{
    ProtocolVersion, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::certified::Certificate;

/// The message that asks for TLS (PostgreSQL manual, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Listens on a port of its own, speaks TLS with whoever asks for it, and passes on what is said.
pub(super) struct Front {
    pub(super) port: u16,
    last_version: Version,
}

type Version = Arc<Mutex<Option<String>>>;

impl Front {
    pub(super) async fn new(server: SocketAddr, certificate: &Certificate, is_old: bool) -> Self {
        let versions = if is_old {
            &[&TLS12][..]
        } else {
            &[&TLS12, &TLS13]
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let last_version = Version::default();
        let version = Arc::clone(&last_version);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(pass(client, server, acceptor.clone(), Arc::clone(&version)));
            }
        });
        Self { port, last_version }
    }

    /// Which version of TLS the last connection spoke; none if it spoke plainly.
    pub(super) fn last_version(&self) -> Option<String> {
        self.last_version.lock().unwrap().clone()
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    acceptor: TlsAcceptor,
    last_version: Version,
) -> io::Result<()> {
    let mut begin = [0; 8];
    client.read_exact(&mut begin).await?;
    if begin != SSL_REQUEST {
        *last_version.lock().unwrap() = None;
        server.write_all(&begin).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let version = match client.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        other => unreachable!("{other:?}"),
    };
    *last_version.lock().unwrap() = Some(version.to_owned());
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

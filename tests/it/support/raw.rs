//! Requests byte by byte, for what no well-behaved client sends.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{answer::Answer, wait::LONG};

/// Between two bytes of a client that dribbles.
const DROP: Duration = Duration::from_millis(100);

/// Sends bytes and reads one answer; `None` if the connection just closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    talk(address, request, false).await
}

/// Sends bytes, says that no more will come, and reads what is answered then.
pub(crate) async fn cut_off(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    talk(address, request, true).await
}

/// Sends bytes, then a space now and then for as long as the service listens, and reads what is answered.
pub(crate) async fn dribble(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.expect("the service listens");
        let (mut from, mut to) = stream.split();
        let mut bytes = Vec::new();
        let sending = async {
            let _ = to.write_all(request).await;
            while to.write_all(b" ").await.is_ok() {
                tokio::time::sleep(DROP).await;
            }
            // The other half says when it is over.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sending => {}
            _ = from.read_to_end(&mut bytes) => {}
        }
        bytes
    };
    parse(&timeout(LONG, talk).await.expect("an answer or the end of the connection"))
}

async fn talk(address: SocketAddr, request: &[u8], is_cut: bool) -> Option<Answer> {
    over(TcpStream::connect(address).await.expect("the service listens"), request, is_cut).await
}

/// Sends bytes over a connection of whatever kind, and reads one answer to its end.
pub(crate) async fn over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    is_cut: bool,
) -> Option<Answer> {
    let talk = async {
        // The service may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        if is_cut {
            let _ = stream.shutdown().await;
        }
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        bytes
    };
    parse(&timeout(LONG, talk).await.expect("an answer or the end of the connection"))
}

/// A request's bytes. `Host` and `Connection: close` come by themselves.
pub(crate) fn request(start: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{start} HTTP/1.1\r\nhost: kickout.test\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("headers are text");
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<StatusCode>().expect("a status");
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}

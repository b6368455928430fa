//! A connection that begins in the clear. Whoever sits on the line can say something right behind the server's answer to
//! `STARTTLS`; a client that has read that already would take it for what the server says after the handshake, and believe it.
//! Here nobody may say anything in between.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const ASK: &[u8] = b"STARTTLS\r\n";

#[derive(Debug)]
pub(super) struct Upgradable {
    stream: TcpStream,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Clear,
    /// One line is due from the server.
    Asked,
    /// It came; the next word is ours.
    Answered,
    /// Whatever follows is the handshake and what it protects, or our farewell.
    Over,
}

impl Upgradable {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, phase: Phase::Clear }
    }
}

/// The phase after `heard`, or `None` when the server spoke out of turn.
fn hear(phase: Phase, heard: &[u8]) -> Option<Phase> {
    let end = heard.iter().position(|&byte| byte == b'\n');
    match (phase, end) {
        (Phase::Clear | Phase::Over, _) | (Phase::Asked, None) => Some(phase),
        (Phase::Asked, Some(end)) => (end + 1 == heard.len()).then_some(Phase::Answered),
        (Phase::Answered, _) => heard.is_empty().then_some(phase),
    }
}

impl AsyncRead for Upgradable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let spoke = || {
            io::Error::new(io::ErrorKind::InvalidData, "the server spoke between STARTTLS and the handshake")
        };
        self.phase = hear(self.phase, &buffer.filled()[before..]).ok_or_else(spoke)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgradable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.phase = match self.phase {
            Phase::Clear if bytes == ASK => Phase::Asked,
            Phase::Answered => Phase::Over,
            phase => phase,
        };
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Upgradable {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_answers_and_nothing_follows_it() {
        assert_eq!(hear(Phase::Asked, b"220 go"), Some(Phase::Asked));
        assert_eq!(hear(Phase::Asked, b" ahead\r\n"), Some(Phase::Answered));
        assert_eq!(hear(Phase::Asked, b"220 go ahead\r\n250 trust me\r\n"), None);
        assert_eq!(hear(Phase::Answered, b"2"), None);
        assert_eq!(hear(Phase::Answered, b""), Some(Phase::Answered), "it hung up");
        for phase in [Phase::Clear, Phase::Over] {
            assert_eq!(hear(phase, b"250-a\r\n250 b\r\n"), Some(phase));
        }
    }
}

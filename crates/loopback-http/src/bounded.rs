//! A listener that anybody on the machine may reach without taking descriptors from the program:
//! few connections at a time, and none for long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Accepts no more connections at a time than it has places; the others wait in the kernel.
#[derive(Debug)]
pub(super) struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
    longest: Duration,
}

/// A connection that ends after a time, whatever its other end does.
#[derive(Debug)]
pub(super) struct Brief<C> {
    connection: C,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<L> Bounded<L> {
    /// Bounds a listener to so many connections of so much time each.
    pub(super) fn new(listener: L, places: usize, longest: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places)),
            longest,
        }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Brief<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Nobody closes the semaphore, so there always is a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (connection, address) = self.listener.accept().await;
        let brief = Brief {
            connection,
            end: Box::pin(tokio::time::sleep(self.longest)),
            _place: place,
        };
        (brief, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<C> Brief<C> {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

fn over<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<C: AsyncRead + Unpin> AsyncRead for Brief<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return over();
        }
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Brief<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return over();
        }
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return over();
        }
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return over();
        }
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use axum::serve::Listener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::Bounded;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn idle_connections_take_no_more_than_their_places() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = Bounded::new(listener, 2, LONG);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let first = bounded.accept().await;
        let _second = bounded.accept().await;

        assert!(timeout(SHORT, bounded.accept()).await.is_err());
        drop(first);
        assert!(timeout(LONG, bounded.accept()).await.is_ok());
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new().route("/", get(|| async { "ok" }));
        let served = axum::serve(Bounded::new(listener, 1, SHORT), pages).into_future();
        let server = tokio::spawn(served);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HT").await.unwrap();

        let mut said = Vec::new();
        let ended = timeout(LONG, client.read_to_end(&mut said)).await;

        assert!(ended.is_ok());
        server.abort();
    }
}

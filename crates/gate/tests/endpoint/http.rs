//! HTTP/1.1 by hand, on both sides: what is tested is bytes, so no library may tidy them.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest any step of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    /// Request line or status line.
    pub line: String,
    /// Names in lower case; values of one name joined by a comma.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Which connection of the server it came over.
    pub connection: usize,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Reads one message. `None`: the connection ended before its first byte. An error: in the middle.
pub async fn read_message(
    socket: &mut TcpStream,
    kept: &mut Vec<u8>,
    connection: usize,
) -> Result<Option<Message>, String> {
    let head_end = loop {
        if let Some(at) = kept.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        match socket.read_buf(kept).await {
            Ok(0) if kept.is_empty() => return Ok(None),
            Ok(0) => {
                return Err(format!(
                    "ended inside the head: {}",
                    String::from_utf8_lossy(kept)
                ));
            }
            Ok(_) => {}
            Err(e) if kept.is_empty() => return Err(e.to_string()),
            Err(e) => return Err(e.to_string()),
        }
    };
    let head = String::from_utf8(kept[..head_end].to_vec()).unwrap();
    kept.drain(..head_end + 4);
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let mut headers: HashMap<String, String> = HashMap::new();
    for header in lines {
        let (name, value) = header.split_once(':').unwrap();
        headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|all| *all = format!("{all},{}", value.trim()))
            .or_insert_with(|| value.trim().to_owned());
    }
    let mut more = async |kept: &mut Vec<u8>| match socket.read_buf(kept).await {
        Ok(0) => Err("ended inside the body".to_owned()),
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    };
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|t| t == "chunked") {
        loop {
            let line_end = loop {
                if let Some(at) = kept.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                more(kept).await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&kept[..line_end]).unwrap(), 16).unwrap();
            while kept.len() < line_end + 2 + size + 2 {
                more(kept).await?;
            }
            body.extend_from_slice(&kept[line_end + 2..line_end + 2 + size]);
            kept.drain(..line_end + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = headers.get("content-length") {
        let length: usize = length.parse().unwrap();
        while kept.len() < length {
            more(kept).await?;
        }
        body = kept.drain(..length).collect();
    }
    Ok(Some(Message {
        line,
        headers,
        body,
        connection,
    }))
}

/// What the mock execution client does with a request.
pub enum Reply {
    /// These bytes, and the connection stays.
    Bytes(Vec<u8>),
    /// These bytes, and the connection ends.
    Last(Vec<u8>),
    /// Nothing, for as long as the caller waits.
    Nothing,
}

type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Arc<dyn Fn(Message) -> Answering + Send + Sync>;

/// An execution client that does what the test wants.
pub struct MockEl {
    pub address: SocketAddr,
    pub received: Arc<Mutex<Vec<Message>>>,
    /// Requests that broke off before their end.
    pub broken: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl MockEl {
    pub async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Message) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    pub async fn start_at<F, A>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Message) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |message| Box::pin(handler(message)));
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let broken = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (all, bad, count) = (
            Arc::clone(&received),
            Arc::clone(&broken),
            Arc::clone(&connections),
        );
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(
                    socket,
                    number,
                    Arc::clone(&all),
                    Arc::clone(&bad),
                    Arc::clone(&handler),
                ));
            }
        });
        Self {
            address,
            received,
            broken,
            connections,
            task,
        }
    }

    pub fn url(&self) -> url::Url {
        format!("http://{}/", self.address).parse().unwrap()
    }

    pub fn received(&self) -> Vec<Message> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        eventually(|| self.received().len() >= count).await;
        self.received()
    }

    /// Ends it, and every connection with it.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(
    mut socket: TcpStream,
    number: usize,
    all: Arc<Mutex<Vec<Message>>>,
    broken: Arc<AtomicUsize>,
    handler: Handler,
) {
    let mut kept = Vec::new();
    loop {
        let message = match read_message(&mut socket, &mut kept, number).await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(_) => {
                broken.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        all.lock().unwrap().push(message.clone());
        match handler(message).await {
            Reply::Bytes(bytes) => socket.write_all(&bytes).await.unwrap_or_default(),
            Reply::Last(bytes) => {
                socket.write_all(&bytes).await.unwrap_or_default();
                return;
            }
            // Ends when the other side does.
            Reply::Nothing => {
                let mut rest = Vec::new();
                let _ = socket.read_to_end(&mut rest).await;
                return;
            }
        }
    }
}

/// An HTTP answer with a JSON body.
pub fn ok(body: &str) -> Reply {
    Reply::Bytes(response(
        "200 OK",
        "content-type: application/json\r\n",
        body.as_bytes(),
    ))
}

pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// One connection to the endpoint.
pub struct Caller {
    pub socket: TcpStream,
    kept: Vec<u8>,
}

impl Caller {
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            kept: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.socket.write_all(bytes))
            .await
            .expect("the request was not taken in time")
            .unwrap();
    }

    pub async fn answer(&mut self) -> Result<Option<Message>, String> {
        tokio::time::timeout(PATIENCE, read_message(&mut self.socket, &mut self.kept, 0))
            .await
            .expect("no answer in time")
    }

    /// Sends a whole request and reads the answer.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Message {
        self.send(bytes).await;
        self.answer()
            .await
            .unwrap()
            .expect("the connection ended without an answer")
    }
}

/// A POST of a body, with a token and more headers.
pub fn post(bearer: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST / HTTP/1.1\r\nhost: assay\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// Waits until something holds.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it never came about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

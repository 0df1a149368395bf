//! A small name server on a stack.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use netstack::netsocket::{Net, TcpStream};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// The response to a query.
pub(crate) enum Answer {
    /// Has these records, which may be none.
    Records(Vec<RData>),
    Code(ResponseCode),
    /// The same from a server without EDNS.
    OldCode(ResponseCode),
    /// Truncated, without records.
    Truncated,
    /// Truncated, with some records.
    Part(Vec<RData>),
    /// The same, ending in the middle of a record.
    Torn(Vec<RData>),
    /// A header and nothing else.
    Bare(ResponseCode),
    /// A lame delegation: not authoritative, and not recursive.
    Lame,
    /// An answer to another question.
    Other,
    /// The identifier of the query, followed by garbage.
    Garbage,
    Silence,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) over_tcp: bool,
    pub(crate) edns: bool,
    pub(crate) from: SocketAddr,
    pub(crate) id: u16,
}

/// Serves until it is dropped.
pub(crate) struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

type Zone = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

impl Server {
    pub(crate) async fn start(
        net: &Net,
        at: &str,
        zone: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (asked, zone): (Arc<Mutex<Vec<Asked>>>, Zone) = (Arc::default(), Arc::new(zone));
        let mut tasks = JoinSet::new();
        Self::serve_datagrams(net, at, &asked, &zone, &mut tasks).await;
        let listener = net.tcp_listen(at).await.expect("a free port");
        let log = asked.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, zone) = (log.clone(), zone.clone());
                connections.spawn(async move { serve(stream, &log, &zone).await });
            }
        });
        Self { asked, _tasks: tasks }
    }

    /// A server that refuses TCP.
    pub(crate) async fn start_without_tcp(
        net: &Net,
        at: &str,
        zone: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (asked, zone): (Arc<Mutex<Vec<Asked>>>, Zone) = (Arc::default(), Arc::new(zone));
        let mut tasks = JoinSet::new();
        Self::serve_datagrams(net, at, &asked, &zone, &mut tasks).await;
        Self { asked, _tasks: tasks }
    }

    async fn serve_datagrams(
        net: &Net,
        at: &str,
        asked: &Arc<Mutex<Vec<Asked>>>,
        zone: &Zone,
        tasks: &mut JoinSet<()>,
    ) {
        let socket = net.udp_bind(at).await.expect("a free port");
        let (log, answers) = (asked.clone(), zone.clone());
        tasks.spawn(async move {
            while let Ok((question, from)) = socket.recv_bytes_from().await {
                if let Some(answer) = answer(&question, from, false, &log, &answers) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }

    /// The names and types of the queries.
    pub(crate) fn questions(&self) -> Vec<(String, RecordType)> {
        self.asked().into_iter().map(|asked| (asked.name, asked.kind)).collect()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, zone: &Zone) -> io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = answer(&question, stream.peer_addr()?, true, log, zone) {
            stream.write_u16(answer.len() as u16).await?;
            stream.write_all(&answer).await?;
        }
    }
}

fn answer(
    question: &[u8],
    from: SocketAddr,
    over_tcp: bool,
    log: &Mutex<Vec<Asked>>,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).expect("a question");
    let query = question.queries.first().expect("a question").clone();
    let name = query.name().to_lowercase().to_string();
    let (kind, id) = (query.query_type(), question.metadata.id);
    let edns = question.edns.is_some();
    let asked = Asked { name, kind, over_tcp, edns, from, id };
    log.lock().expect("whole").push(asked.clone());
    let mut response = question.into_response();
    response.metadata.recursion_available = true;
    match zone(&asked) {
        Answer::Records(records) => add(&mut response, query.name(), records),
        Answer::Part(records) => {
            response.metadata.truncation = true;
            add(&mut response, query.name(), records);
        }
        Answer::Torn(records) => {
            response.metadata.truncation = true;
            add(&mut response, query.name(), records);
            let mut torn = response.to_vec().expect("small");
            torn.pop();
            return Some(torn);
        }
        Answer::Bare(code) => {
            response.metadata.response_code = code;
            response.queries.clear();
        }
        Answer::Lame => response.metadata.recursion_available = false,
        Answer::Other => {
            response.queries[0].set_name(self::name("other.test."));
            let data = RData::A(A([10, 6, 6, 6].into()));
            response.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
        Answer::Code(code) => response.metadata.response_code = code,
        Answer::OldCode(code) => {
            response.metadata.response_code = code;
            response.edns = None;
        }
        Answer::Truncated => response.metadata.truncation = true,
        Answer::Garbage => {
            let mut garbage = asked.id.to_be_bytes().to_vec();
            garbage.resize(40, 0xff);
            return Some(garbage);
        }
        Answer::Silence => return None,
    }
    Some(response.to_vec().expect("small"))
}

fn add(response: &mut Message, name: &Name, records: Vec<RData>) {
    // The records after an alias are those of its target.
    let mut owner = name.clone();
    for data in records {
        let next = match &data {
            RData::CNAME(CNAME(target)) => target.clone(),
            _ => owner.clone(),
        };
        response.add_answer(Record::from_rdata(owner, 60, data));
        owner = next;
    }
}

/// The addresses among `ips` that are of the query's type.
pub(crate) fn addresses(asked: &Asked, ips: &[&str]) -> Answer {
    let data = ips.iter().filter_map(|ip| match (ip.parse().expect("an address"), asked.kind) {
        (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
        (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
        _ => None,
    });
    Answer::Records(data.collect())
}

pub(crate) fn unknown() -> Answer {
    Answer::Code(ResponseCode::NXDomain)
}

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

pub(crate) fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

pub(crate) fn pointer(target: &str) -> RData {
    RData::PTR(PTR(name(target)))
}

pub(crate) fn service(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, name(target)))
}

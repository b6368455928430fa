//! A name server that knows a handful of names.

use std::net::{Ipv4Addr, UdpSocket};

const HEADER: usize = 12;
const A: [u8; 4] = [0, 1, 0, 1];

/// Answers until it is dropped.
pub(super) async fn serve(socket: UdpSocket, known: Vec<(String, Ipv4Addr)>) {
    let _ = socket.set_nonblocking(true);
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &known) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// A name that is known has an address; other questions about it have an answer without one.
fn answer(query: &[u8], known: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = String::from_utf8_lossy(query.get(at..at + length)?);
        name = if name.is_empty() { label.into_owned() } else { format!("{name}.{label}") };
        at += length;
    }
    let question = query.get(HEADER..at + 4)?;
    let found = known.iter().find(|(other, _)| other.eq_ignore_ascii_case(&name)).map(|(_, address)| address);
    let address = found.filter(|_| question.ends_with(&A));
    let mut answer = query[..2].to_vec();
    // An answer, recursion available; name error unless it is known.
    answer.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(address) = address {
        // The question's name; A, IN; for a minute; four bytes.
        answer.extend([0xc0, HEADER as u8]);
        answer.extend(A);
        answer.extend([0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

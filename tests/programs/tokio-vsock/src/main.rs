// SPDX-License-Identifier: GPL-2.0

//! Swaps two files over the sockets of the published crate tokio-vsock, both ways at once.
//!
//! usage: swap-with-tokio server|client CID PORT MINE THEIRS

use std::{env, io, time::Duration};
use tokio::{
    fs,
    io::{AsyncReadExt, AsyncWriteExt},
    time,
};
use tokio_vsock::{VsockAddr, VsockListener, VsockStream, VMADDR_CID_ANY};

/// How often a client tries until somebody listens, 0.1 s apart. On a slow kernel `RVSOCK_PATIENCE` says
/// how many times as often.
const TRIES: u32 = 500;

/// A connection, as soon as somebody listens.
async fn connected(address: VsockAddr) -> io::Result<VsockStream> {
    let patience = env::var("RVSOCK_PATIENCE").map_or(Ok(1), |text| text.parse());
    let tries = patience.map_err(io::Error::other)? * TRIES;
    for _ in 1..tries {
        match VsockStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            done => return done,
        }
        time::sleep(Duration::from_millis(100)).await;
    }
    VsockStream::connect(address).await
}

/// Sends `mine`, and gives what comes meanwhile.
async fn swap(stream: VsockStream, mine: &[u8]) -> io::Result<Vec<u8>> {
    let (mut reader, mut writer) = stream.into_split();
    let mut theirs = Vec::new();
    tokio::try_join!(
        async {
            writer.write_all(mine).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut theirs),
    )?;
    Ok(theirs)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, role, cid, port, mine, theirs] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: swap-with-tokio server|client CID PORT MINE THEIRS",
        ));
    };
    let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
    let (cid, port) = (number(cid)?, number(port)?);
    let stream = if role == "client" {
        connected(VsockAddr::new(cid, port)).await?
    } else {
        let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port))?;
        listener.accept().await?.0
    };
    let taken = swap(stream, &fs::read(mine).await?).await?;
    fs::write(theirs, taken).await
}

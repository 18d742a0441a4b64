//! The engine of Postern's DynamoDB behind the plain HTTP server that comes with it, in a process of its own.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use dynoxide::Database;

/// The one key. The server looks whether there is a signature, and not whether it is right.
pub const ACCESS_KEY: &str = "AKIABENCH";
/// Its secret.
pub const SECRET: &str = "bench-secret";

/// Serves until standard input ends. The address is printed first.
pub fn run(directory: &Path) -> anyhow::Result<()> {
    std::thread::Builder::new().name("until-the-end".to_owned()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    })?;
    let file = directory.join("bench.sqlite");
    let database = Database::new(file.to_str().context("the directory's name is no text")?)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        dynoxide::server::serve_on(listener, database).await;
        Ok(())
    })
}

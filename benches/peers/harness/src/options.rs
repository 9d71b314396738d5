//! The arguments that every peer takes. Names and values, each once, in any order; `../run` is who gives them.

use std::path::PathBuf;
use std::str::FromStr;

use crate::Failure;

pub struct Options {
    /// An empty directory for the database.
    pub dir: PathBuf,
    /// NDJSON with the lines to insert.
    pub rows: PathBuf,
    pub callers: usize,
    /// How long inserts are counted.
    pub seconds: f64,
    /// `full` or `normal`.
    pub synchronous: String,
    /// Connections of a pool; the peer's own choice if not given.
    pub connections: Option<u32>,
    /// Threads of the callers' runtime: 1 is a current-thread runtime, more a multi-thread one. As many as there are cores if
    /// not given, which is what `#[tokio::main]` does.
    pub threads: Option<usize>,
    /// Which of its ways a peer with several is to take.
    pub way: Option<String>,
}

impl Options {
    pub fn from_arguments() -> Result<Self, Failure> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let mut options = Self {
            dir: PathBuf::new(),
            rows: PathBuf::new(),
            callers: 1,
            seconds: 1.0,
            synchronous: "full".into(),
            connections: None,
            threads: None,
            way: None,
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} has no value", pair[0]).into()) };
            match name.as_str() {
                "--dir" => options.dir = value.into(),
                "--rows" => options.rows = value.into(),
                "--callers" => options.callers = number(name, value)?,
                "--seconds" => options.seconds = number(name, value)?,
                "--synchronous" if ["full", "normal"].contains(&&**value) => {
                    options.synchronous.clone_from(value);
                }
                "--connections" => options.connections = Some(number(name, value)?),
                "--threads" => options.threads = Some(number(name, value)?),
                "--way" => options.way = Some(value.clone()),
                _ => return Err(format!("{name} {value} is no argument of a peer").into()),
            }
        }
        if options.dir.as_os_str().is_empty() || options.rows.as_os_str().is_empty() {
            return Err("--dir and --rows are needed".into());
        }
        Ok(options)
    }

    /// The runtime that `--threads` asks for.
    pub fn runtime(&self) -> Result<tokio::runtime::Runtime, Failure> {
        let mut builder = match self.threads {
            Some(1) => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if let Some(threads @ 2..) = self.threads {
            builder.worker_threads(threads);
        }
        Ok(builder.enable_all().build()?)
    }
}

fn number<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|error| format!("{name} {value}: {error}").into())
}

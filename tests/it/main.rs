//! What the library promises, as sentences of behaviour, one theme a file. Everything here goes through the public
//! names; `cargo test --no-default-features --test it` needs neither the domain nor the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod addresses;
mod backpressure;
mod batching;
mod dead_letters;
mod deadlines;
mod harness;
mod idempotency;
mod lanes;
mod layers;
mod leases;
mod lifecycle;
mod logic;
mod looks;
mod order;
mod poison;
mod reads;
mod receipts;
#[cfg(feature = "relay")]
mod relay;
#[cfg(unix)]
mod replaced;
mod sandbox;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod wal;

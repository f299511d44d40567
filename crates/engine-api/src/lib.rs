//! JSON-RPC, JWT and Engine API payloads: what gate, engines and simulator share

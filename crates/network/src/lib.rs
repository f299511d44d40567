//! The libp2p host: gossip, requests, discovery and peers

//! Beacon API routes, events, metrics and dashboard

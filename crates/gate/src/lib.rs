//! The import decision, and the Engine API endpoint in front of the execution client

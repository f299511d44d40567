//! SSZ shapes as data.

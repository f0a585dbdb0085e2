//! strict JSON

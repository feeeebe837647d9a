//! The Lambda function: its environment, its events, and the handler.

pub mod config;
pub mod handler;
pub mod request;

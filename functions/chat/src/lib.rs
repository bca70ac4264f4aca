//! Conversations: the WebSocket, the worker that answers, and what REST shows of sessions and answers.
//!
//! A question comes in by [`message`], which accepts it in one transaction and hands it to the worker ([`answer`]). The
//! worker runs the [`engine`], which knows neither AWS nor HTTP: it is given a model, a search, a journal and a sink for
//! its frames.

pub mod answer;
pub mod answers_get;
pub mod connect;
pub mod disconnect;
pub mod engine;
pub mod message;
pub mod sessions_get;
pub mod sessions_list;

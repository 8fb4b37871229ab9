//! Answers to requests that never reach the engine, in the dialect that their path suggests.

use std::any::Any;

use axum::extract::OriginalUri;
use axum::response::Response;
use bifrost_providers::Dialect;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::chat::respond;
use super::dialect_of;
use crate::engine::ask::Ask;
use crate::engine::refusal::Refusal;

/// A refusal with the request's id on it.
pub fn refused(refusal: &Refusal, dialect: Dialect, headers: &HeaderMap) -> Response {
    identified(respond(refusal.reply(dialect, None)), headers)
}

/// An answer with the request's id on it.
pub fn identified(mut response: Response, headers: &HeaderMap) -> Response {
    if let Ok(id) = HeaderValue::from_str(&Ask::request_id(headers)) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

pub async fn no_such_route(uri: OriginalUri, method: Method, headers: HeaderMap) -> Response {
    let message = format!("no such route: {method} {}", uri.path());
    let refusal = Refusal::Http { status: StatusCode::NOT_FOUND, kind: "not_found_error", message };
    refused(&refusal, dialect_of(uri.path()), &headers)
}

pub async fn wrong_method(uri: OriginalUri, method: Method, headers: HeaderMap) -> Response {
    let message = format!("{} does not answer {method}", uri.path());
    let refusal = Refusal::Http { status: StatusCode::METHOD_NOT_ALLOWED, kind: "invalid_request_error", message };
    refused(&refusal, dialect_of(uri.path()), &headers)
}

/// A panic is a bug of ours: logged with its message, told without it.
pub fn panicked(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic.message = message, "a request handler panicked");
    let refusal = Refusal::Http {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        kind: "internal_error",
        message: "internal error of the gateway".to_owned(),
    };
    respond(refusal.reply(Dialect::OpenAiChat, None))
}

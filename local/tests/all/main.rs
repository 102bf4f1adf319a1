//! Every test of the API: over HTTP and by Lambda events, against a real PostgreSQL.

#[macro_use]
mod world;

mod input;
mod callers;
mod credentials;
mod posts_create;
mod posts_list;
mod posts_pages;
mod posts_update;
mod private_postgres;
mod recorded;
mod routes;
mod vanishing;
mod vote_counts;
mod votes;
mod votes_at_once;
mod keys;
mod addresses;
mod callers;
mod keys;
mod passwords;
mod private_postgres;
mod recorded;
mod settings;
mod tokens;
mod users;

//! What a page asks for.

use crate::client::reading::{Order, Row};
use netstack::netsocket::netcore::SocketId;

/// The part of the list that a page shows, and the connection that it has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) order: Order,
    pub(super) is_reversed: bool,
    /// The first row, and how many.
    pub(super) from: usize,
    pub(super) rows: usize,
    /// Words that each row has.
    pub(super) words: Vec<String>,
    pub(super) opened: Option<SocketId>,
}

/// The most rows of an answer.
pub(super) const ROWS_MAX: usize = 200;
/// More words, or longer ones, find nothing better.
const WORDS_MAX: usize = 8;
const WORD_CHARS_MAX: usize = 64;

impl Query {
    /// Parses the part of an address after the question mark. What is unknown or malformed is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self {
            order: Order::Out,
            is_reversed: false,
            from: 0,
            rows: 50,
            words: Vec::new(),
            opened: None,
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "sort" => query.order = order(&value).unwrap_or(query.order),
                "reversed" => query.is_reversed = value == "1",
                "from" => query.from = value.parse().unwrap_or(0),
                "rows" => query.rows = value.parse().unwrap_or(query.rows).min(ROWS_MAX),
                "open" => query.opened = value.parse().ok(),
                "find" => {
                    let words = value.split_whitespace().take(WORDS_MAX);
                    let short = |word: &str| word.chars().take(WORD_CHARS_MAX).collect::<String>();
                    query.words = words.map(|word| short(word).to_ascii_lowercase()).collect();
                }
                _ => {}
            }
        }
        query
    }

    /// Whether a row has all words: of its id, addresses, state and limit.
    pub(super) fn finds(&self, row: &Row) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let flow = &row.flow;
        let (state, limit) = (flow.state.name(), flow.limit.name());
        let text = format!("{} {} {} {state} {limit}", flow.id, flow.local, flow.peer);
        let text = text.to_ascii_lowercase();
        self.words.iter().all(|word| text.contains(word))
    }
}

fn order(name: &str) -> Option<Order> {
    Some(match name {
        "out" => Order::Out,
        "in" => Order::In,
        "rtt" => Order::RoundTrip,
        "again" => Order::Again,
        "limit" => Order::Limit,
        "age" => Order::Age,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_bounded_and_its_errors_are_left_out() {
        let query = Query::parse("sort=rtt&reversed=1&from=20&rows=9999&find=10.9+ESTAB&open=7v1");
        assert_eq!((query.order, query.is_reversed), (Order::RoundTrip, true));
        assert_eq!((query.from, query.rows), (20, ROWS_MAX));
        assert_eq!(query.words, ["10.9", "estab"]);
        assert_eq!(query.opened, "7v1".parse().ok());

        let empty = Query::parse("");
        assert_eq!(Query::parse("sort=%ff&from=-1&rows=x&open=%00&&=&find=%20"), empty);
        assert_eq!((empty.rows, empty.words.len()), (50, 0));
        let long = Query::parse(&format!("find={}", "word+".repeat(1000)));
        assert_eq!(long.words.len(), WORDS_MAX);
    }
}

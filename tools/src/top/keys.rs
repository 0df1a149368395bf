//! What each key does.

use crate::client::reading::Order;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    End,
    Back,
    Open,
    Pause,
    Reverse,
    Sort(Order),
    /// So many rows down, or up if negative.
    Move(isize),
}

/// The rows of a page.
const PAGE: isize = 10;

pub(super) fn action(event: &Event) -> Option<Action> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Action::End,
        KeyCode::Char('q') => Action::End,
        KeyCode::Esc | KeyCode::Backspace => Action::Back,
        KeyCode::Enter => Action::Open,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('R') => Action::Reverse,
        KeyCode::Char('o') => Action::Sort(Order::Out),
        KeyCode::Char('i') => Action::Sort(Order::In),
        KeyCode::Char('r') => Action::Sort(Order::RoundTrip),
        KeyCode::Char('a') => Action::Sort(Order::Again),
        KeyCode::Char('l') => Action::Sort(Order::Limit),
        KeyCode::Char('g') => Action::Sort(Order::Age),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::PageDown => Action::Move(PAGE),
        KeyCode::PageUp => Action::Move(-PAGE),
        // Far enough, and no overflow.
        KeyCode::Home => Action::Move(-(1 << 30)),
        KeyCode::End => Action::Move(1 << 30),
        _ => return None,
    })
}

//! The screen of `--tui`: lists of connections, problems and nodes as they change, and the ladder of each.
//!
//! In: a [`Screen`], which the analysis keeps up to date, and keys. Out: the terminal, drawn by a thread of its own a few
//! times a second, so that a slow terminal delays no packet. The terminal is restored at the end, and after a panic. The
//! only file that uses ratatui.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use beamscope::render::{Format, Screen, ScreenList, ScreenRow, ScreenTone};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{List, ListItem, ListState, Paragraph};

use super::console;
use super::error::Error;
use super::settings::OutputSettings;

/// A screen that is drawn.
pub(super) struct Tui {
    /// Until it was waited for.
    thread: Option<JoinHandle<io::Result<()>>>,
    screen: Screen,
}

impl Tui {
    /// Starts to draw, if the settings want a screen.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(super) fn wanted(settings: &OutputSettings, title: String) -> Result<Option<Self>, Error> {
        let Format::Screen(screen) = &settings.options.format else { return Ok(None) };
        Self::start(screen.clone(), title).map(Some).map_err(console::stdout_error)
    }

    /// Starts to draw. `title` names what is analysed. Returns once the terminal is ready, after which the thread opens
    /// nothing more.
    ///
    /// # Errors
    ///
    /// The terminal cannot be used, or the thread cannot be started.
    fn start(screen: Screen, title: String) -> io::Result<Self> {
        console::hold_errors();
        let (ready, is_ready) = sync_channel(1);
        let shown = screen.clone();
        let draw = move || draw_until_closed(&shown, &title, &ready);
        let thread = thread::Builder::new().name("screen".to_owned()).spawn(draw)?;
        match is_ready.recv() {
            Ok(()) => Ok(Self { thread: Some(thread), screen }),
            // The thread has ended, with the error of the terminal.
            Err(_) => {
                console::release_errors();
                let error = thread.join().ok().and_then(Result::err);
                Err(error.unwrap_or_else(|| io::ErrorKind::Other.into()))
            }
        }
    }

    /// Waits until the user closes the screen, or closes it at once.
    ///
    /// # Errors
    ///
    /// Drawing failed.
    pub(super) fn finish(mut self, at_once: bool) -> Result<(), Error> {
        if at_once {
            self.screen.close();
        }
        self.join().map_err(console::stdout_error)
    }

    fn join(&mut self) -> io::Result<()> {
        // A panic of the thread was printed, and the terminal is restored.
        let drawn = self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())));
        console::release_errors();
        drawn
    }
}

/// A run that fails leaves the terminal as it was.
impl Drop for Tui {
    fn drop(&mut self) {
        self.screen.close();
        // The error of the run is the one that is reported.
        let _ = self.join();
    }
}

fn draw_until_closed(screen: &Screen, title: &str, ready: &SyncSender<()>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let drawn = (|| {
        // The source of keys opens its files at the first call.
        event::poll(Duration::ZERO)?;
        let _ = ready.send(());
        let mut view = View::new(title);
        while !screen.is_closed() {
            terminal.draw(|frame| view.draw(frame, screen))?;
            if event::poll(REDRAW)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && view.on_key(key, screen)
            {
                screen.close();
            }
        }
        Ok(())
    })();
    // If drawing failed, no key could close the screen any more.
    screen.close();
    ratatui::restore();
    drawn
}

/// What is looked at.
struct View {
    title: String,
    list: ScreenList,
    selected: usize,
    /// Rows that fit, as of the last drawing.
    page: usize,
    columns: usize,
    filter: String,
    is_typing: bool,
    /// A ladder, and the first of its lines that is shown.
    ladder: Option<(Vec<String>, usize)>,
}

impl View {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            list: ScreenList::Connections,
            selected: 0,
            page: 1,
            columns: 80,
            filter: String::new(),
            is_typing: false,
            ladder: None,
        }
    }

    /// Takes a key. True if it closes the screen.
    fn on_key(&mut self, key: KeyEvent, screen: &Screen) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c'));
        }
        if self.is_typing {
            match key.code {
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => (self.is_typing, self.filter) = (false, String::new()),
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(c) if self.filter.len() < MAX_FILTER => self.filter.push(c),
                _ => {}
            }
            self.selected = 0;
            return false;
        }
        let last = match &self.ladder {
            Some((lines, _)) => lines.len(),
            None => screen.rows(self.list, &self.filter).len(),
        };
        let last = last.saturating_sub(1);
        let place = match &mut self.ladder {
            Some((_, first)) => first,
            None => &mut self.selected,
        };
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => *place = place.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *place = (*place + 1).min(last),
            KeyCode::PageUp => *place = place.saturating_sub(self.page),
            KeyCode::PageDown => *place = (*place + self.page).min(last),
            KeyCode::Home => *place = 0,
            KeyCode::End => *place = last,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.ladder.is_some() => {
                self.ladder = None;
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right if self.ladder.is_none() => self.open_ladder(screen),
            KeyCode::Tab => self.show(match self.list {
                ScreenList::Connections => ScreenList::Problems,
                ScreenList::Problems => ScreenList::Nodes,
                ScreenList::Nodes => ScreenList::Connections,
            }),
            KeyCode::Char('1') => self.show(ScreenList::Connections),
            KeyCode::Char('2') => self.show(ScreenList::Problems),
            KeyCode::Char('3') => self.show(ScreenList::Nodes),
            KeyCode::Char('/') => (self.is_typing, self.ladder) = (true, None),
            KeyCode::Char('q') => return true,
            _ => {}
        }
        false
    }

    fn show(&mut self, list: ScreenList) {
        (self.list, self.selected, self.ladder) = (list, 0, None);
    }

    fn open_ladder(&mut self, screen: &Screen) {
        let rows = screen.rows(self.list, &self.filter);
        let Some(row) = rows.get(self.selected) else { return };
        let text = screen
            .ladder(self.list, &row.id, self.columns)
            .unwrap_or_else(|| format!("There is no ladder of this: {}", row.text));
        self.ladder = Some((text.lines().map(ToOwned::to_owned).collect(), 0));
    }

    fn draw(&mut self, frame: &mut Frame<'_>, screen: &Screen) {
        let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(rows).areas(frame.area());
        (self.page, self.columns) = (body.height.max(1).into(), body.width.into());
        frame.render_widget(Paragraph::new(self.head(screen)), head);
        match &self.ladder {
            Some((lines, first)) => {
                let shown: Vec<_> = lines
                    .iter()
                    .skip(*first)
                    .take(self.page)
                    .map(|line| Line::raw(line.as_str()))
                    .collect();
                frame.render_widget(Paragraph::new(shown), body);
            }
            None => self.draw_list(frame, body, screen),
        }
        frame.render_widget(Paragraph::new(self.foot(screen)), foot);
    }

    fn draw_list(&mut self, frame: &mut Frame<'_>, body: Rect, screen: &Screen) {
        let rows = screen.rows(self.list, &self.filter);
        self.selected = self.selected.min(rows.len().saturating_sub(1));
        if rows.is_empty() {
            let what = match self.list {
                ScreenList::Connections => "No Erlang connection",
                ScreenList::Problems => "No problem",
                ScreenList::Nodes => "No node",
            };
            let rest = if self.filter.is_empty() { " so far." } else { " fits the filter." };
            frame.render_widget(Paragraph::new(format!("{what}{rest}")), body);
            return;
        }
        let width = rows.iter().map(|row| row.mark.chars().count()).max().unwrap_or(0).min(40);
        let item = |row: &ScreenRow| {
            let mark = Span::styled(format!("{:width$}  ", row.mark), DIM);
            ListItem::new(Line::from(vec![mark, Span::styled(row.text.clone(), style(row.tone))]))
        };
        let list = List::new(rows.iter().map(item))
            .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = ListState::default().with_selected(Some(self.selected));
        frame.render_stateful_widget(list, body, &mut state);
    }

    fn head(&self, screen: &Screen) -> Line<'_> {
        let names = ["connections", "problems", "nodes"];
        let lists = [ScreenList::Connections, ScreenList::Problems, ScreenList::Nodes];
        let mut spans = Vec::new();
        for (((number, name), list), count) in (1..).zip(names).zip(lists).zip(screen.counts()) {
            let modifier = if list == self.list { Modifier::REVERSED } else { Modifier::empty() };
            let style = Style::new().add_modifier(modifier);
            spans.push(Span::styled(format!(" {number} {count} {name} "), style));
        }
        spans.push(Span::styled(format!("  {}", self.title), DIM));
        Line::from(spans)
    }

    fn foot(&self, screen: &Screen) -> Line<'_> {
        if self.is_typing {
            return Line::raw(format!("filter: {}_  Enter keeps it, Esc removes it", self.filter));
        }
        let filter = match self.filter.as_str() {
            "" => String::new(),
            filter => format!("filter: {filter}  "),
        };
        let keys = match &self.ladder {
            Some(_) => "Up Down  Esc back  q quit",
            None => "Up Down  Enter ladder  Tab lists  / filter  q quit",
        };
        let over = if screen.is_over() { "the capture has ended  " } else { "" };
        Line::styled(format!("{over}{filter}{keys}"), DIM)
    }
}

fn style(tone: ScreenTone) -> Style {
    match tone {
        ScreenTone::Plain => Style::new(),
        ScreenTone::Good => Style::new().fg(Color::Green),
        ScreenTone::Notable => Style::new().fg(Color::Yellow),
        ScreenTone::Bad => Style::new().fg(Color::Red),
    }
}

const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// How long the thread waits for a key before it draws again.
const REDRAW: Duration = Duration::from_millis(200);

/// Bytes of a filter that can be typed.
const MAX_FILTER: usize = 200;

#[cfg(test)]
mod tests {
    use beamscope::capture::{Input, Inputs, Order};
    use beamscope::drive;
    use beamscope::engine::{Config, Engine};
    use beamscope::record::Severity;
    use beamscope::render::{Options, Output, Shown, TermStyle};
    use beamscope::time::Zone;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    /// The screen after the capture of the story.
    fn screen() -> Screen {
        let screen = Screen::new(Zone::UTC, true);
        let options = Options {
            format: Format::Screen(screen.clone()),
            only_findings: false,
            min_severity: Severity::Info,
            shown: Shown::default(),
            line_buffered: false,
            terms: TermStyle::Erlang,
        };
        let capture = "captures/seed-lan-wrong-then-right-cookie.pcap";
        let mut inputs = Inputs::new(vec![Input::Path(capture.into())], Order::Time).unwrap();
        let mut engine =
            Engine::new(Config::default(), Output::new(Vec::new(), Vec::new(), options));
        drive::run(&mut inputs, &mut engine, &mut ()).unwrap();
        engine.finish().finish().unwrap();
        screen
    }

    /// The screen of 80 columns after these keys, and whether they closed it.
    fn after(keys: &[KeyCode]) -> (String, bool) {
        let (screen, mut view) = (screen(), View::new("eth0"));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut is_closed = false;
        terminal.draw(|frame| view.draw(frame, &screen)).unwrap();
        for key in keys {
            is_closed |= view.on_key(KeyEvent::new(*key, KeyModifiers::NONE), &screen);
            terminal.draw(|frame| view.draw(frame, &screen)).unwrap();
        }
        (terminal.backend().to_string(), is_closed)
    }

    #[test]
    fn each_list_has_its_rows() {
        let (connections, _) = after(&[]);
        assert!(
            connections.contains("2 problems") || connections.contains("1 problems"),
            "{connections}"
        );
        assert!(connections.contains("cookie mismatch"), "{connections}");
        let (problems, _) = after(&[KeyCode::Tab]);
        assert!(problems.contains("SOLVED  HIGH  two@192.168.0.103 refused"), "{problems}");
        let (nodes, _) = after(&[KeyCode::Char('3')]);
        assert!(nodes.contains("one@192.168.0.100  OTP 25 to 27"), "{nodes}");
        assert!(nodes.is_ascii(), "{nodes}");
    }

    #[test]
    fn enter_opens_the_ladder_and_escape_leaves_it() {
        let (ladder, _) = after(&[KeyCode::Char('2'), KeyCode::Enter]);
        assert!(ladder.contains("challenge_reply") && ladder.contains("never sent"), "{ladder}");
        let (list, _) = after(&[KeyCode::Char('2'), KeyCode::Enter, KeyCode::Esc]);
        assert!(list.contains("SOLVED  HIGH"), "{list}");
    }

    #[test]
    fn a_filter_is_typed_kept_and_removed() {
        let typed = ['/', 't', 'w', 'o', '-'].map(KeyCode::Char);
        let (text, is_closed) = after(&typed);
        assert!(
            text.contains("filter: two-_") && text.contains("No Erlang connection fits"),
            "{text}"
        );
        assert!(!is_closed);
        let removed = [&typed[..], &[KeyCode::Esc]].concat();
        assert!(after(&removed).0.contains("cookie mismatch"));
        let quit = [&typed[..], &[KeyCode::Char('q')]].concat();
        assert!(!after(&quit).1, "a letter of the filter");
        assert!(after(&[KeyCode::Char('q')]).1);
    }

    #[test]
    fn no_place_is_beyond_the_last_row() {
        let keys = [KeyCode::Down; 200];
        let (text, _) = after(&keys);
        assert!(text.contains("connections"), "{text}");
        let (text, _) =
            after(&[&keys[..], &[KeyCode::PageUp, KeyCode::Enter, KeyCode::End]].concat());
        assert!(text.contains("Esc back"), "{text}");
    }
}

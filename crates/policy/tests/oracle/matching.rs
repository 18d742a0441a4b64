//! How texts, numbers, dates and addresses compare, for the naive evaluator.

/// One place of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token {
    Is(char),
    One,
    Many,
}

/// A place, or a variable with its default.
#[derive(Debug, Clone)]
pub enum Piece {
    Token(Token),
    Variable(String, Option<String>),
}

/// A pattern without variables.
pub fn wild(pattern: &str, text: &str) -> bool {
    let tokens: Vec<Token> = pattern
        .chars()
        .map(|letter| match letter {
            '*' => Token::Many,
            '?' => Token::One,
            other => Token::Is(other),
        })
        .collect();
    tokens_fit(&tokens, text)
}

/// By the definition: a table of which beginnings of the pattern fit which beginnings of the text.
pub fn tokens_fit(tokens: &[Token], text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let mut fits = vec![vec![false; letters.len() + 1]; tokens.len() + 1];
    fits[0][0] = true;
    for (row, token) in tokens.iter().enumerate() {
        for column in 0..=letters.len() {
            fits[row + 1][column] = match token {
                Token::Many => fits[row][column] || (column > 0 && fits[row + 1][column - 1]),
                Token::One => column > 0 && fits[row][column - 1],
                Token::Is(letter) => column > 0 && letters[column - 1] == *letter && fits[row][column - 1],
            };
        }
    }
    fits[tokens.len()][letters.len()]
}

/// Reads a pattern. The drawn ones are well formed.
pub fn pieces(pattern: &str, wildcards: bool, variables: bool) -> Vec<Piece> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        if variables && letters[at] == '$' && letters.get(at + 1) == Some(&'{') {
            let end = (at..letters.len()).find(|end| letters[*end] == '}').unwrap();
            let inside: String = letters[at + 2..end].iter().collect();
            pieces.push(match inside.as_str() {
                "*" | "?" | "$" => Piece::Token(Token::Is(letters[at + 2])),
                variable => match variable.split_once(',') {
                    None => Piece::Variable(variable.trim().to_owned(), None),
                    Some((key, default)) => {
                        let default = default.trim().trim_matches('\'').to_owned();
                        Piece::Variable(key.trim().to_owned(), Some(default))
                    }
                },
            });
            at = end + 1;
            continue;
        }
        pieces.push(Piece::Token(match letters[at] {
            '*' if wildcards => Token::Many,
            '?' if wildcards => Token::One,
            other => Token::Is(other),
        }));
        at += 1;
    }
    pieces
}

/// Whether `Equals`, `LessThan`, `GreaterThanEquals` and so on hold; nothing holds of what cannot be read.
pub fn ordered(comparison: &str, left: Option<i64>, right: Option<i64>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return false };
    match comparison {
        "Equals" => left == right,
        "LessThan" => left < right,
        "LessThanEquals" => left <= right,
        "GreaterThan" => left > right,
        "GreaterThanEquals" => left >= right,
        other => panic!("`{other}` is no comparison"),
    }
}

/// In thousandths: the drawn numbers have three digits behind the point at most.
pub fn number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 3 || whole.len() > 12 {
        return None;
    }
    let thousandths: i64 = format!("{fraction:0<3}").parse().ok()?;
    Some(sign * (whole.parse::<i64>().ok()? * 1_000 + thousandths))
}

/// Seconds since 1970: of `2024-05-05`, `2024-05-05T10:00:00Z`, or plain seconds.
pub fn instant(text: &str) -> Option<i64> {
    if text.len() > 4 && text.chars().all(|letter| letter.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let date: Vec<i64> = date.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let time: Vec<i64> = time.strip_suffix('Z')?.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let (&[year, month, day], &[hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: i64 = lengths.iter().take(usize::try_from(month).ok()? - 1).sum();
    Some(((years + months + day - 1) * 24 + hour) * 3_600 + minute * 60 + second)
}

/// Whether an address is in a block, or is the one address.
pub fn in_network(network: &str, address: &str) -> bool {
    let bits = |text: &str| -> Option<(u128, u32)> {
        match text.parse::<std::net::IpAddr>().ok()? {
            std::net::IpAddr::V4(address) => Some((u128::from(u32::from(address)), 32)),
            std::net::IpAddr::V6(address) => Some((u128::from(address), 128)),
        }
    };
    let (base, length) =
        network.split_once('/').map_or((network, None), |(base, length)| (base, length.parse().ok()));
    let (Some((base, width)), Some((address, address_width))) = (bits(base), bits(address)) else {
        return false;
    };
    let length: u32 = length.unwrap_or(width);
    let same = |bit: u32| (base >> (width - 1 - bit)) & 1 == (address >> (width - 1 - bit)) & 1;
    width == address_width && (0..length).all(same)
}

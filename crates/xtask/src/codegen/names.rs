//! Rust names for AWS's names.

/// `VpcId` as `vpc_id`, `Ipv6CidrBlock` as `ipv6_cidr_block`, `SSEType` as `sse_type`, `type` as `r#type`.
pub fn snake(name: &str) -> String {
    let snake = words(name).join("_").to_lowercase();
    match snake.as_str() {
        "type" | "return" | "use" | "match" | "ref" | "move" | "loop" | "where" | "in" => {
            format!("r#{snake}")
        }
        _ => snake,
    }
}

/// `roleNameType` as `ROLE_NAME_TYPE`.
pub fn screaming(name: &str) -> String {
    words(name).join("_").to_uppercase()
}

/// Splits before a capital that follows a small letter or digit, and before the last capital of a run.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, &letter) in letters.iter().enumerate() {
        let follows_small = index > 0 && !letters[index - 1].is_uppercase() && letters[index - 1] != '_';
        let starts_word = index > 0 && letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if index > 0 && letter.is_uppercase() && (follows_small || starts_word) {
            words.push(String::new());
        }
        if letter == '_' {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::{screaming, snake};

    #[test]
    fn names_read_as_rust() {
        for (aws, rust) in [
            ("VpcId", "vpc_id"),
            ("Ipv6CidrBlock", "ipv6_cidr_block"),
            ("SSEType", "sse_type"),
            ("EnableDns64", "enable_dns64"),
            ("SizeInMiB", "size_in_mi_b"),
            ("Type", "r#type"),
            ("arn", "arn"),
        ] {
            assert_eq!(snake(aws), rust);
        }
        assert_eq!(screaming("roleNameType"), "ROLE_NAME_TYPE");
    }
}

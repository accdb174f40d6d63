//! Finds out whether a group has members besides one user.

/// Whether the group has, or may have, members besides the user.
///
/// A private group has its user's name, or the user's number where neither has an entry. A group that
/// other users have as their first group is not private, nor is a group with listed members.
pub(super) fn has_other_members(group: u32, user: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let users = read("/etc/passwd");
    let groups = read("/etc/group");
    !is_private(&users, &groups, group, user)
}

fn is_private(users: &str, groups: &str, group: u32, user: u32) -> bool {
    let mut name = None;
    for fields in users.lines().map(fields) {
        let (Some(number), Some(first_group)) = (number(&fields, 2), number(&fields, 3)) else {
            continue;
        };
        if number == user {
            name = name.or_else(|| fields.first().copied());
        } else if first_group == group {
            return false;
        }
    }
    let Some(entry) = groups
        .lines()
        .map(fields)
        .find(|fields| number(fields, 2) == Some(group))
    else {
        return group == user;
    };
    let is_user = |member: &&str| Some(*member) == name;
    let mut members = entry
        .get(3)
        .map(|members| members.split(',').filter(|member| !member.is_empty()))
        .into_iter()
        .flatten();
    let has_its_name = match name {
        // The group of root is `root` on Linux and `wheel` elsewhere.
        Some(_) if user == 0 => group == 0,
        Some(_) => entry.first().is_some_and(is_user),
        None => group == user,
    };
    has_its_name && members.all(|member| is_user(&member))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn number(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n\
                         bob:x:1001:100::/home/bob:/bin/sh\ncarol:x:1002:100::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:alice\nalice:x:1000:\nteam:x:2000:alice\n\
                          mates:x:2001:alice,bob\nbob:x:1001:bob,carol\n";

    /// The decision on umask 0002: the user's own private group may write, and no other group.
    #[test]
    fn only_a_group_of_one_user_is_private() {
        for (group, user, private) in [
            (1000, 1000, true),
            (0, 0, true),
            (100, 1000, false),
            (100, 1001, false),
            (2000, 1000, false),
            (2001, 1000, false),
            (1001, 1001, false),
            (1000, 1001, false),
            // Users and groups of a directory service, or of a container, have no entry.
            (5000, 5000, true),
            (5001, 5000, false),
            (5000, 1000, false),
        ] {
            let found = is_private(USERS, GROUPS, group, user);
            assert_eq!(found, private, "group {group} of user {user}");
        }
        let with_member = GROUPS.replace("root:x:0:", "root:x:0:root,bob");
        assert!(!is_private(USERS, &with_member, 0, 0));
        let with_itself = GROUPS.replace("root:x:0:", "root:x:0:root");
        assert!(is_private(USERS, &with_itself, 0, 0));
    }
}

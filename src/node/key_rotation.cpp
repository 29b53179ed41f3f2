// Counting who holds which key.
#include "node/key_rotation.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <set>

namespace waggle::node {
namespace {

constexpr std::size_t names_told = 8;

std::string name_of(const gossip::Member& member) {
  return member.name.empty() ? member.id.short_string() : member.name;
}

KeyStanding standing_of(KeyName name, KeyStanding::Role role,
                        const std::vector<gossip::Member>& members) {
  KeyStanding standing{.name = name, .role = role};
  for (const gossip::Member& member : members) {
    const bool accepts = member.keys.accept(name);
    if (member.state == gossip::MemberState::faulty && !accepts) {
      standing.lost.push_back(name_of(member));
    }
    if (!is_live(member.state)) continue;
    if (accepts) {
      ++standing.accepted_by;
    } else {
      standing.lacking.push_back(name_of(member));
    }
    if (member.keys.seals == name) {
      ++standing.sealed_with_by;
      standing.sealing.push_back(name_of(member));
    }
  }
  for (auto* names : {&standing.lacking, &standing.lost, &standing.sealing}) {
    std::sort(names->begin(), names->end());
  }
  return standing;
}

}  // namespace

const char* to_text(KeyStanding::Role role) {
  switch (role) {
    case KeyStanding::Role::seals:
      return "seals";
    case KeyStanding::Role::opens:
      return "opens";
    case KeyStanding::Role::unknown:
      break;
  }
  return "unknown";
}

std::vector<KeyStanding> key_standings(const KeyNames& own,
                                       const std::vector<gossip::Member>& members) {
  std::vector<KeyStanding> standings = {standing_of(own.seals, KeyStanding::Role::seals, members)};
  if (own.opens != 0) {
    standings.push_back(standing_of(own.opens, KeyStanding::Role::opens, members));
  }
  std::set<KeyName> unknown;
  for (const gossip::Member& member : members) {
    if (!is_live(member.state)) continue;
    for (const KeyName name : {member.keys.seals, member.keys.opens}) {
      const bool is_new = name != 0 && !own.accept(name);
      if (is_new && unknown.size() < limits::unknown_keys_told_max) unknown.insert(name);
    }
  }
  for (const KeyName name : unknown) {
    standings.push_back(standing_of(name, KeyStanding::Role::unknown, members));
  }
  return standings;
}

KeyLoss key_loss(const KeyNames& current, const KeyNames& fresh,
                 const std::vector<gossip::Member>& members) {
  KeyLoss loss;
  for (const gossip::Member& member : members) {
    if (member.is_self || !is_live(member.state)) continue;
    const KeyNames& theirs = member.keys;
    if (!theirs.accept(fresh.seals) && theirs.accept(current.seals)) {
      loss.deaf.push_back(name_of(member));
    }
    if (!fresh.accept(theirs.seals) && current.accept(theirs.seals)) {
      loss.mute.push_back(name_of(member));
    }
  }
  std::sort(loss.deaf.begin(), loss.deaf.end());
  std::sort(loss.mute.begin(), loss.mute.end());
  return loss;
}

std::string KeyLoss::to_string(const KeyNames& fresh) const {
  std::string text;
  if (!deaf.empty()) {
    text = "key " + waggle::to_text(fresh.seals) + " would seal, and is not accepted by " +
           few_of(deaf);
  }
  if (!mute.empty()) {
    text += (text.empty() ? "" : "; ") + std::string("the old key would go, and still seals for ") +
            few_of(mute);
  }
  return text;
}

std::string few_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), names_told); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > names_told) {
    text += " and " + std::to_string(names.size() - names_told) + " more";
  }
  return text;
}

}  // namespace waggle::node

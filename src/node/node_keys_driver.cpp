// Re-reading the configuration, and what the node tells about cluster keys.
#include "node/error.hpp"
#include "node/key_rotation.hpp"
#include "node/log_driver.hpp"
#include "node/node_driver.hpp"
#include "node/state_files_driver.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace waggle::node {

// Everything that can fail comes before the first change.
ops::ReloadResult NodeDriver::reload(bool force) {
  using Outcome = ops::ReloadResult::Outcome;
  ConfigResult fresh = loader_();
  if (!fresh.errors.empty()) return {Outcome::invalid, fresh.errors.front().to_string(), {}};
  mirror::UpstreamConfig upstream;
  KeyRing keys;
  try {
    upstream = upstream_settings(fresh);
    keys = load_keys(fresh.config.cluster.key_files, fresh.place_of("cluster.key_files"));
  } catch (const StartError& error) {
    return {Outcome::invalid, error.what(), {}};
  }
  const KeyNames names = names_of(keys);
  ops::ReloadResult result;
  const KeyLoss loss = key_loss(key_names_, names, distributor_->gossip().members());
  if (!loss.none()) {
    if (!force) return {Outcome::would_part, loss.to_string(names), {}};
    result.warnings.push_back("cut off by the new keys: " + loss.to_string(names));
    spdlog::warn("{}", result.warnings.back());
  }
  upstream_->reconfigure(std::move(upstream));
  set_keys(keys);
  config_.config.cluster.key_files = fresh.config.cluster.key_files;
  set_log_level(fresh.config.log.level);
  spdlog::info(
      "reloaded: log level, upstream registries and cluster keys; the rest needs a restart");
  return result;
}

void NodeDriver::set_keys(const KeyRing& keys) {
  const KeyNames names = names_of(keys);
  if (names != key_names_) {
    spdlog::info("cluster keys: {} seals{}", waggle::to_text(names.seals),
                 names.opens == 0 ? "" : ", " + waggle::to_text(names.opens) + " opens");
    keys_since_ = now();
  }
  key_names_ = names;
  distributor_->set_keys(now(), keys);
  tcp_->set_keys(keys);
  pump();
}

std::vector<ops::KeyInfo> NodeDriver::key_infos() const {
  std::vector<ops::KeyInfo> infos;
  const std::vector<std::size_t> sessions = tcp_->sessions_by_key();
  for (auto& standing : key_standings(key_names_, distributor_->gossip().members())) {
    ops::KeyInfo info;
    info.id = waggle::to_text(standing.name);
    info.role = to_text(standing.role);
    info.accepted_by = standing.accepted_by;
    info.sealed_with_by = standing.sealed_with_by;
    info.not_accepted_count = standing.lacking.size();
    info.not_accepted_by = std::move(standing.lacking);
    info.not_accepted_by.resize(std::min(info.not_accepted_by.size(), ops::names_listed_max));
    // Own keys come first, in the order of the ring.
    if (infos.size() < sessions.size()) info.sessions = sessions[infos.size()];
    infos.push_back(std::move(info));
  }
  return infos;
}

std::vector<ops::CloneInfo> NodeDriver::clone_infos() const {
  std::vector<ops::CloneInfo> infos;
  for (const auto& seen : distributor_->gossip().clones(now())) {
    infos.push_back({seen.id.to_string(), member_name(seen.id), seen.at.to_string(),
                     seen.other.to_string(), seen.other_name, seen.id == identity_->node_id()});
  }
  return infos;
}

ops::DoctorFacts::Rotation NodeDriver::rotation_facts() const {
  ops::DoctorFacts::Rotation facts;
  std::vector<std::string> mute;
  for (const auto& standing : key_standings(key_names_, distributor_->gossip().members())) {
    if (standing.role == KeyStanding::Role::unknown) {
      if (standing.sealing.empty()) continue;
      mute.push_back(few_of(standing.sealing) + " (key " + waggle::to_text(standing.name) + ")");
    } else if (standing.role == KeyStanding::Role::seals) {
      facts.sealing = waggle::to_text(standing.name);
      facts.members = standing.accepted_by + standing.lacking.size();
      facts.sealed_with_by = standing.sealed_with_by;
      facts.lacking = few_of(standing.lacking);
      facts.lost = few_of(standing.lost);
    } else {
      facts.second = waggle::to_text(standing.name);
      facts.second_accepted_by = standing.accepted_by;
      facts.two_keys_for = now() - keys_since_;
    }
  }
  for (const auto& members : mute) facts.mute += (facts.mute.empty() ? "" : ", ") + members;
  return facts;
}

}  // namespace waggle::node

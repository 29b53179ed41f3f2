// One small function per check.
#include "ops/doctor.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

namespace waggle::ops {
namespace {

using Level = Finding::Level;
using Findings = std::vector<Finding>;

constexpr Duration rotation_unfinished_after = std::chrono::hours(24);
constexpr Duration skew_warn = std::chrono::seconds(30);
constexpr Duration skew_fail = std::chrono::minutes(5);
constexpr std::uint64_t ip_and_udp_bytes = 48;

std::string mib(std::uint64_t bytes) { return std::to_string(bytes / (1024 * 1024)) + " MiB"; }

std::string seconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(duration).count()) + " s";
}

std::string octal(unsigned mode) {
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "%04o", mode & 07777U);
  return text.data();
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

void check_config(const DoctorFacts& facts, Findings& out) {
  for (const auto& warning : facts.config_warnings) {
    out.push_back(
        {Level::warn, "config", warning, "remove the key, or know that it has no effect"});
  }
  if (facts.config_warnings.empty())
    out.push_back({Level::ok, "config", "every key that is set has its effect", ""});
}

void check_keys(const DoctorFacts& facts, Findings& out) {
  for (const auto& key : facts.keys) {
    if (!key.problem.empty()) {
      out.push_back({Level::fail, "key", key.path + ": " + key.problem,
                     "copy the cluster's key there (or make one: waggle keygen " + key.path + ")"});
    } else if ((key.mode & 07U) != 0 || (key.mode & 020U) != 0) {
      out.push_back({Level::fail, "key",
                     key.path + " has mode " + octal(key.mode) +
                         ": whoever reads it is a member, whoever writes it shuts this node out",
                     "chmod 600 " + key.path + "; if others could read it, change the key"});
    } else {
      out.push_back({Level::ok, "key", key.path + ", mode " + octal(key.mode), ""});
    }
  }
}

void check_rotation(const DoctorFacts& facts, Findings& out) {
  const auto& keys = facts.rotation;
  const std::size_t before = out.size();
  const auto warn = [&](std::string what, std::string to_do) {
    out.push_back({Level::warn, "rotation", std::move(what), std::move(to_do)});
  };
  if (!keys.lacking.empty()) {
    warn("this node seals with key " + keys.sealing + ", which is not accepted by " + keys.lacking,
         "copy the key there, name it in cluster.key_files and `waggle reload`");
  }
  if (!keys.mute.empty()) {
    warn("cannot open what these members seal: " + keys.mute,
         "copy their key here, name it in cluster.key_files and `waggle reload`");
  }
  if (!keys.lost.empty()) {
    warn("not answering, and last seen without key " + keys.sealing + ": " + keys.lost,
         "if they run, copy the key there, name it in cluster.key_files and `waggle reload`");
  }
  if (!keys.second.empty() && keys.two_keys_for >= rotation_unfinished_after) {
    warn("two keys for " + std::to_string(keys.two_keys_for / std::chrono::hours(1)) +
             " h: " + std::to_string(keys.sealed_with_by) + " of " +
             counted(keys.members, "member") + " seal with " + keys.sealing + ", " +
             std::to_string(keys.second_accepted_by) + " accept " + keys.second,
         "finish the rotation: promote the new key on all members, then retire the old one");
  }
  if (out.size() == before) {
    out.push_back({Level::ok, "rotation",
                   "all " + counted(keys.members, "live member") + " accept key " + keys.sealing,
                   ""});
  }
}

void check_identity(const DoctorFacts& facts, Findings& out) {
  for (const auto& clone : facts.clones) {
    const std::string other =
        clone.other_address + (clone.other_name.empty() ? "" : " (" + clone.other_name + ")");
    out.push_back({clone.is_self ? Level::fail : Level::warn, "identity",
                   clone.is_self ? "another process uses this node's identity, at " + other
                                 : "two processes are member " + clone.name + ": at " +
                                       clone.address + " and at " + other,
                   "a cloned disk? On one of them: stop waggled, remove node.data_dir/identity, "
                   "start it again"});
  }
  if (facts.clones.empty())
    out.push_back({Level::ok, "identity", "no identity is used by two processes", ""});
}

void check_clock(const DoctorFacts& facts, Findings& out) {
  const auto worst =
      std::max_element(facts.skews.begin(), facts.skews.end(), [](const auto& a, const auto& b) {
        return std::chrono::abs(a.ahead) < std::chrono::abs(b.ahead);
      });
  if (worst != facts.skews.end() && std::chrono::abs(worst->ahead) >= skew_warn) {
    const bool fatal = std::chrono::abs(worst->ahead) >= skew_fail;
    const bool is_ahead = worst->ahead > Duration::zero();
    out.push_back({fatal ? Level::fail : Level::warn, "clock",
                   "this node's clock is " + seconds(std::chrono::abs(worst->ahead)) +
                       (is_ahead ? " ahead of " : " behind ") + worst->of,
                   "start a time service here (chrony, systemd-timesyncd): tokens, signatures and "
                   "certificates depend on it"});
  } else if (!facts.clock_synchronised) {
    out.push_back({Level::warn, "clock", "the kernel says that its clock is not synchronised",
                   "start a time service (chrony, systemd-timesyncd), unless the host keeps it"});
  } else {
    out.push_back({Level::ok, "clock", "synchronised", ""});
  }
}

void check_index(const DoctorFacts& facts, Findings& out) {
  if (facts.ready) {
    out.push_back({Level::ok, "index", "ready", ""});
  } else {
    out.push_back({Level::fail, "index", "not ready: the mirror answers 404",
                   "wait 10 s after the start; then look at 'hints' and 'udp'"});
  }
}

std::size_t alive_others(const DoctorFacts& facts) {
  return static_cast<std::size_t>(
      std::count_if(facts.members.begin(), facts.members.end(),
                    [](const auto& member) { return !member.is_self && member.state == "alive"; }));
}

void check_members(const DoctorFacts& facts, Findings& out) {
  std::string missing;
  for (const auto& member : facts.members) {
    if (member.state == "suspect" || member.state == "faulty")
      missing += (missing.empty() ? "" : ", ") + member.name + " (" + member.state + ")";
  }
  const bool has_hints = std::any_of(facts.hints.begin(), facts.hints.end(),
                                     [](const auto& hint) { return !hint.is_self; });
  if (!missing.empty()) {
    out.push_back({Level::warn, "members", "not answering: " + missing,
                   "see whether they run; if they do, look at 'udp'"});
  } else if (alive_others(facts) == 0 && has_hints) {
    out.push_back({Level::fail, "members", "this node is alone, although cluster.join names others",
                   "look at 'hints', 'udp' and 'key'; cluster.name must be the same everywhere"});
  } else {
    out.push_back({Level::ok, "members",
                   counted(alive_others(facts) + 1, "member") + " alive, this node included", ""});
  }
}

void check_hints(const DoctorFacts& facts, Findings& out) {
  std::size_t reached = 0;
  std::size_t others = 0;
  for (const auto& hint : facts.hints) {
    if (hint.is_self) continue;
    ++others;
    if (hint.problem.empty()) {
      ++reached;
      continue;
    }
    // One that does not answer is a reboot; the other hints do.
    const bool cut_off = alive_others(facts) == 0;
    out.push_back({cut_off ? Level::fail : Level::warn, "hints", hint.text + ": " + hint.problem,
                   "see whether waggled runs there, and whether a firewall stops its TCP port"});
  }
  if (reached == others)
    out.push_back(
        {Level::ok, "hints", counted(reached, "other node") + " of cluster.join reached", ""});
}

/// TCP passes, but the other end is not alive: gossip's UDP does not.
void check_udp(const DoctorFacts& facts, Findings& out) {
  std::string blocked;
  for (const auto& member : facts.members) {
    if (member.is_self || member.state == "alive" || member.state == "left" || !member.tcp_open)
      continue;
    blocked += (blocked.empty() ? "" : ", ") + member.address;
  }
  if (alive_others(facts) == 0 && blocked.empty()) {
    for (const auto& hint : facts.hints) {
      if (!hint.is_self && hint.problem.empty())
        blocked += (blocked.empty() ? "" : ", ") + hint.text;
    }
  }
  if (blocked.empty()) {
    out.push_back({Level::ok, "udp", "nobody is seen over TCP alone", ""});
  } else {
    out.push_back({Level::fail, "udp", "TCP reaches " + blocked + ", but gossip (UDP) does not",
                   "open the same port for UDP, both ways; if it is open, compare the cluster key "
                   "and cluster.name"});
  }
}

void check_mtu(const DoctorFacts& facts, Findings& out) {
  bool fits = true;
  for (const auto& path : facts.paths) {
    if (path.mtu == 0 || path.mtu >= facts.packet_bytes) continue;
    fits = false;
    out.push_back({Level::warn, "mtu",
                   "the path to " + path.member + " carries packets of " +
                       std::to_string(path.mtu) + " bytes, cluster.packet_bytes is " +
                       std::to_string(facts.packet_bytes),
                   "set cluster.packet_bytes to " + std::to_string(path.mtu) +
                       " on all nodes, or mend the path"});
  }
  if (fits) {
    out.push_back({Level::ok, "mtu",
                   "every known path carries datagrams of " +
                       std::to_string(facts.packet_bytes - ip_and_udp_bytes) + " bytes",
                   ""});
  }
}

void check_versions(const DoctorFacts& facts, Findings& out) {
  std::set<std::string> versions;
  for (const auto& member : facts.members) {
    if (member.state == "alive") versions.insert(member.version);
  }
  std::string all;
  for (const auto& version : versions) all += (all.empty() ? "" : ", ") + version;
  if (versions.size() > 1) {
    out.push_back({Level::warn, "versions", "members speak different protocol versions: " + all,
                   "finish the upgrade: `waggle members` shows who is behind"});
  } else {
    out.push_back({Level::ok, "versions", "all members speak protocol version " + all, ""});
  }
}

void check_disk(const DoctorFacts& facts, Findings& out) {
  if (facts.data_dir_problem.empty()) {
    out.push_back({Level::ok, "data_dir", facts.data_dir + " is writable", ""});
  } else {
    out.push_back({Level::fail, "data_dir", facts.data_dir + ": " + facts.data_dir_problem,
                   "give waggled's user a writable node.data_dir on a healthy disk"});
  }
  const std::string state = mib(facts.disk_free_bytes) + " free, cache " + mib(facts.cache_bytes) +
                            " of at most " + mib(facts.cache_max_bytes);
  if (facts.disk_free_bytes < facts.min_free_bytes) {
    out.push_back(
        {Level::warn, "disk",
         state + "; below cache.min_free (" + mib(facts.min_free_bytes) + "): nothing new is kept",
         "free space on the disk of node.data_dir, or lower cache.min_free"});
  } else {
    out.push_back({Level::ok, "disk", state, ""});
  }
}

Finding judge(const DoctorFacts::Registry& registry) {
  const std::string name = registry.name + " (" + registry.origin + ")";
  if (registry.status == 0) {
    return {
        Level::fail, "upstream", name + ": " + registry.problem,
        "check the network, a proxy, upstream.registries (endpoint, ca_file) and upstream.allow"};
  }
  const std::string answer = name + " answers " + std::to_string(registry.status);
  if (registry.status >= 500) {
    return {Level::warn, "upstream", answer,
            "look at the registry; the cluster serves what it has"};
  }
  return {Level::ok, "upstream", answer, ""};
}

void check_registries(const DoctorFacts& facts, Findings& out) {
  Findings pauses;
  for (const auto& registry : facts.registries) {
    if (registry.status == 429 || (registry.status == 503 && registry.retry_after)) {
      pauses.push_back({Level::warn, "pause",
                        registry.name + " limits us (HTTP " + std::to_string(registry.status) +
                            "): nothing is asked of it for " +
                            seconds(registry.retry_after.value_or(Duration::zero())),
                        "raise its limits, or give waggle a credential with higher ones"});
    } else {
      out.push_back(judge(registry));
    }
  }
  if (facts.registries.empty())
    out.push_back({Level::ok, "upstream", "no registry is configured", ""});
  if (pauses.empty()) pauses.push_back({Level::ok, "pause", "no registry is paused", ""});
  out.insert(out.end(), pauses.begin(), pauses.end());
}

}  // namespace

std::string_view to_text(Finding::Level level) {
  switch (level) {
    case Level::ok:
      return "ok";
    case Level::warn:
      return "warn";
    case Level::fail:
      break;
  }
  return "fail";
}

std::vector<Finding> diagnose(const DoctorFacts& facts) {
  Findings out;
  for (const auto check : {check_config, check_keys, check_rotation, check_identity, check_clock,
                           check_index, check_members, check_hints, check_udp, check_mtu,
                           check_versions, check_disk, check_registries}) {
    check(facts, out);
  }
  return out;
}

}  // namespace waggle::ops

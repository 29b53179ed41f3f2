// The hostile member's command line: that of waggled, and the lie.
#include "liar/liar_driver.hpp"
#include "node/error.hpp"
#include "node/log_driver.hpp"
#include "node/state_files_driver.hpp"

#include <fmt/format.h>
#include <sodium.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <map>

namespace {

using namespace waggle;

const std::map<std::string, liar::Lie> lies = {{"bytes", liar::Lie::bytes},
                                               {"midstate", liar::Lie::midstate},
                                               {"forged-list", liar::Lie::forged_list},
                                               {"holdings", liar::Lie::holdings},
                                               {"claims", liar::Lie::claims},
                                               {"crec", liar::Lie::crec},
                                               {"flood", liar::Lie::flood}};

constexpr std::size_t config_bytes_max = std::size_t{1} << 20U;

int run(const std::string& path, const liar::LiarConfig& config) {
  const auto text = node::read_file(path, config_bytes_max);
  if (!text) throw node::StartError(2, "cannot read " + path);
  auto parsed = node::parse_config(*text, path, {});
  if (!parsed.errors.empty()) throw node::StartError(2, parsed.errors.front().to_string());
  node::set_up_log(parsed.config.log.level, parsed.config.log.format);
  liar::LiarDriver driver(std::move(parsed), [] { return node::ConfigResult{}; }, config);
  return driver.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("waggled_liar: a hostile member, for tests", "waggled_liar");
  std::string path;
  std::string lie;
  std::string digest;
  liar::LiarConfig config;
  app.add_option("--config", path, "configuration file")->required();
  app.add_option("--lie", lie, "bytes|midstate|forged-list|holdings|claims|crec|flood")->required();
  app.add_option("--digest", digest, "the blob to lie about");
  app.add_option("--size", config.size, "its size in bytes");
  CLI11_PARSE(app, argc, argv);
  const auto found = lies.find(lie);
  const auto target = Digest::parse(digest);
  if (found == lies.end() || (!digest.empty() && !target) || sodium_init() < 0) return 2;
  config.lie = found->second;
  if (target) config.target = *target;
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(path, config);
  } catch (const node::StartError& error) {
    fmt::print(stderr, "waggled_liar: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "waggled_liar: {}\n", error.what());
    return 1;
  }
}

// The `waggle` command: options, verbs, exit codes.
#include "cli/verb.hpp"

#include <fmt/format.h>
#include <sodium.h>
#include <CLI/CLI.hpp>

#include <array>
#include <cstdlib>

namespace {

using namespace waggle::cli;

/// Verbs of the contract whose feature this build lacks: known words, so that scripts get a clear
/// answer.
constexpr std::array<const char*, 16> later_verbs = {
    "explain", "get", "put",    "rm",         "warm",      "unpin",   "pause", "verify",
    "gc",      "top", "events", "containerd", "overlaybd", "objects", "bench", "completion"};

int run(int argc, char** argv) {
  CLI::App app("waggle: look at and steer a waggled node", "waggle");
  app.set_version_flag("--version", WAGGLE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Options options;
  app.add_option("--api", options.api, "unix socket or http:// URL of waggled's ops API")
      ->envname("WAGGLE_API")
      ->capture_default_str();
  app.add_flag("--json", options.json, "print JSON");

  int code = exit_ok;
  std::string digest;
  std::string file;
  app.add_subcommand("status", "this node and its cluster")->callback([&] {
    code = run_status(options);
  });
  app.add_subcommand("members", "who is in the cluster")->callback([&] {
    code = run_members(options);
  });
  app.add_subcommand("ls", "blobs on this node")->callback([&] { code = run_ls(options); });
  auto* who_has = app.add_subcommand("who-has", "nodes that hold a digest");
  who_has->add_option("DIGEST", digest, "sha256:...")->required();
  who_has->callback([&] { code = run_who_has(options, digest); });
  app.add_subcommand("drain", "leave the cluster and stop")->callback([&] {
    code = run_drain(options);
  });
  bool force = false;
  auto* reload = app.add_subcommand("reload", "re-read configuration and keys");
  reload->add_flag("--force", force, "also when the new cluster keys cut off live members");
  reload->callback([&] { code = run_reload(options, force); });
  DoctorOptions doctor;
  auto* doctor_verb = app.add_subcommand("doctor", "what is wrong with this node, and what to do");
  doctor_verb->add_option("--config", doctor.config, "waggled's configuration")
      ->capture_default_str();
  doctor_verb
      ->add_option("--containerd-config", doctor.containerd_config, "containerd's config.toml")
      ->capture_default_str();
  doctor_verb->add_option("--containerd-root", doctor.containerd_root,
                          "containerd's root directory (default: as its configuration says)");
  doctor_verb->callback([&] { code = run_doctor(options, doctor); });
  auto* keygen = app.add_subcommand("keygen", "make a cluster key");
  keygen->add_option("FILE,-o,--output", file, "file to create (0600); - or none: standard output");
  keygen->callback([&] { code = run_keygen(file); });
  for (const char* name : later_verbs) {
    auto* verb = app.add_subcommand(name, "not in this build")->allow_extras()->group("");
    verb->callback([&code, name] {
      fmt::print(stderr, "waggle: {}: not in this build\n", name);
      code = exit_usage;
    });
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_ok : exit_usage;
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  if (sodium_init() < 0) {
    fmt::print(stderr, "waggle: libsodium does not start on this machine\n");
    return exit_failed;
  }
  return run(argc, argv);
}

// The configuration: YAML and environment.
#include "node/config.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::node;

/// An environment variable (NAME=value), then the file.
void run(ByteView bytes) {
  Input input(bytes);
  const std::string_view variable = as_text(input.string());
  const auto equals = variable.find('=');
  std::map<std::string, std::string> environment;
  if (equals != std::string_view::npos) {
    environment.emplace("WAGGLE_" + std::string(variable.substr(0, equals)),
                        variable.substr(equals + 1));
  }
  const ConfigResult result = parse_config(as_text(input.rest()), "waggle.yaml", environment);
  for (const auto& note : result.errors) {
    expect(!note.place.empty() && !note.message.empty(), "an error says what and where");
  }
  for (const auto& [key, place] : result.places) {
    expect(result.place_of(key) == place && !place.empty(), "what was set has a place");
  }
}

std::vector<Bytes> seeds() {
  const std::pair<const char*, const char*> pairs[] = {
      {"CLUSTER_BIND=127.0.0.1:7947", "node: { name: a, labels: { x: y } }\ncluster:\n  name: c\n"},
      {"CACHE_MAX__BYTES=64MiB", "cache: { max_bytes: \"20%\", min_free: 2GB, scrub: 7d }\n"},
      {"LOG_LEVEL=debug",
       "upstream:\n  registries:\n    docker.io: { endpoint: \"https://r\", insecure: true }\n"},
      {"MIRROR_ALLOW=10.0.0.0/8,::1", "mirror: { bind: 127.0.0.1:1, prefetch: { workers: 3 } }\n"},
      {"X=1", "cluster: &a { packet_bytes: 1400 }\nops: *a\n"},
      {"TRANSFER=[1", "? {a: b}\n: !!int \"3\"\n--- \n- 1\n"},
  };
  std::vector<Bytes> out;
  for (const auto& [variable, yaml] : pairs) {
    Bytes seed;
    append_string(seed, as_bytes(variable));
    append(seed, as_bytes(yaml));
    out.push_back(seed);
  }
  return out;
}

const Target target("config", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz

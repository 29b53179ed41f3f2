// Docker's config.json.
#include "mirror/docker_config.hpp"
#include "target.hpp"

namespace waggle::fuzz {
namespace {

using namespace waggle::mirror;

/// Registry and repository that are asked for, then the file.
void run(ByteView bytes) {
  Input input(bytes);
  const std::string registry(as_text(input.string()));
  const std::string repository(as_text(input.string()));
  const auto config = DockerConfig::parse(as_text(input.rest()));
  if (!config) return;
  for (const char* name : {"docker.io", "registry.local:5000", "", registry.c_str()}) {
    const auto found = config->find(name, repository);
    if (!found) continue;
    expect(config->size() > 0, "what is found was there");
    expect(!found->username.empty() || !found->identity_token.empty(),
           "a credential says who it is");
  }
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> out;
  for (const char* text :
       {"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dXNlcjpwYXNz\"}}}",
        "{\"auths\":{\"registry.local:5000/team/app\":{\"username\":\"u\",\"password\":\"p\"},"
        "\"registry.local:5000\":{\"identitytoken\":\"t\"}},\"credsStore\":\"x\"}",
        "{\"auths\":{\"x\":{\"auth\":\"dXNlcjpwYXNzAAA\"},\"y\":[]}}", "{}"}) {
    Bytes seed;
    append_string(seed, as_bytes("registry.local:5000"));
    append_string(seed, as_bytes("team/app/x"));
    append(seed, as_bytes(text));
    out.push_back(seed);
  }
  return out;
}

const Target target("docker_config", &run, &seeds);

}  // namespace
}  // namespace waggle::fuzz

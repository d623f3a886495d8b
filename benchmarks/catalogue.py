"""A catalogue of 150 tools: the registered ones, filled up with those still to come.

Each line: name, effect (r, w or !), parameters (name:type, `?` when optional), what it does.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import AnyTool, Audience, Effect, EffectKind, Tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result

SIZE = 150

_PLANNED = """
models_list r node:str? | List the AI models that are installed on a node, with size and format.
models_search r query:str source:str? limit:int? | Search Hugging Face and CivitAI for models to download.
models_show r model:str | Show a model's card: size, licence, files and what it is for.
models_download w model:str node:str? | Download a model to a node, resumable and checksummed.
models_delete ! model:str node:str | Delete an installed model from a node's disk.
images_generate w prompt:str width:int? height:int? steps:int? | Generate an image from a text prompt.
images_edit w image:str prompt:str strength:float? | Change an existing image as the prompt says.
images_inpaint w image:str mask:str prompt:str | Repaint the masked part of an image.
images_control w image:str control:str prompt:str | Generate an image guided by a ControlNet map.
images_upscale w image:str factor:int? | Make an image larger without losing detail.
images_swap_face w image:str face:str | Put a face from one picture into another.
images_list r limit:int? | List the images that were generated, newest first.
images_get r image:str | Show one generated image with its prompt and seed.
images_delete ! image:str | Delete a generated image for good.
video_animate w prompt:str seconds:float? | Animate a prompt into a short clip with AnimateDiff.
video_create w script:str voice:str? | Make a whole video from a script: scenes, speech, clips, captions.
video_redo_scene w video:str scene:int prompt:str? | Make one scene of a video again.
video_assemble w clips:str audio:str? | Join clips, audio and captions into one file with ffmpeg.
video_list r limit:int? | List the videos with their state.
influencer_create w name:str persona:str voice:str? | Create a virtual influencer with persona, look and voice.
influencer_plan w name:str weeks:int? | Plan a content calendar for an influencer.
influencer_produce w name:str count:int? | Produce the next pieces of an influencer's calendar.
speech_transcribe w audio:str language:str? | Turn speech in an audio file into text.
speech_speak w text:str voice:str? | Read a text aloud into an audio file.
speech_list_voices r language:str? | List the voices that can speak.
training_create w name:str base_model:str method:str? | Define a training run: LoRA, QLoRA, SDXL or DreamBooth.
training_start w run:str node:str? | Start a training run on a node with room.
training_get r run:str | Show a training run's progress, loss and samples.
training_list r state:str? | List the training runs.
training_pause w run:str | Pause a training run and free its GPU.
training_resume w run:str | Resume a paused training run from its checkpoint.
training_cancel w run:str | Cancel a training run, keeping its checkpoints.
training_sample w run:str prompt:str? | Draw a sample from the latest checkpoint.
training_list_checkpoints r run:str | List the checkpoints of a training run.
training_add_dataset w name:str source:str | Add a folder of pictures or texts as a training dataset.
jobs_list r state:str? limit:int? | List background jobs with state and progress.
jobs_get r job:str | Show one job with its log and result.
jobs_submit w tool:str arguments:str priority:int? | Queue a tool to run as a job.
jobs_cancel w job:str | Cancel a queued or running job.
jobs_retry w job:str | Run a failed job again.
jobs_set_priority w job:str priority:int | Change how soon a queued job runs.
nodes_list r | List the machines with their GPUs and whether they are reachable.
nodes_get r node:str | Show one machine: CPU, RAM, disk, GPUs and services.
nodes_detect_hardware r node:str | Detect GPU, VRAM, CUDA or ROCm, CPU, RAM and disk of a node.
nodes_run_command ! node:str command:str | Run a command on a node in a sandbox.
nodes_bootstrap w name:str system:str | Make the install script for a new Linux or Windows node.
nodes_wake w node:str | Wake a sleeping machine over the network.
services_start w service:str | Start an AI service on its node.
services_stop w service:str | Stop a service.
services_restart w service:str | Restart a service.
services_logs r service:str lines:int? | Show the last lines of a service's log.
services_deploy_ai ! kind:str node:str | Install Ollama, ComfyUI or SD WebUI on a node in one click.
code_list r repository:str path:str? | List the files of a repository.
code_read r repository:str path:str | Read a file of a repository.
code_search r repository:str query:str | Search the code of a repository.
code_propose w repository:str task:str | Propose a code change on a branch, with edits and checks.
code_show_change r change:str | Show a proposed change as a diff.
code_merge ! change:str | Merge a proposed change into the main branch.
code_revert ! change:str | Revert a merged change.
code_run_checks w repository:str branch:str? | Run a repository's checks in the sandbox.
deploy_plan r application:str environment:str | Show what a deployment would change.
deploy_run ! application:str environment:str | Deploy an application to an environment.
deploy_rollback ! application:str environment:str | Restore the version before the last deployment.
deploy_status r application:str | Show which version runs where, and its health.
deploy_list r environment:str? | List the deployments.
deploy_compare_environments r application:str left:str right:str | Compare two environments' versions and settings.
containers_list r host:str? | List the Docker containers of a host.
containers_start w container:str | Start a container.
containers_stop w container:str | Stop a container.
containers_restart w container:str | Restart a container.
containers_logs r container:str lines:int? | Show a container's log.
containers_stats r container:str? | Show the CPU, memory and network use of containers.
containers_run_command ! container:str command:str | Run a command inside a container.
marketplace_search r query:str | Search the marketplace of ready-made application packages.
marketplace_show r package:str | Show a package, its settings and what it needs.
marketplace_install ! package:str node:str | Install a package on a node.
marketplace_update ! package:str | Update an installed package.
marketplace_uninstall ! package:str | Remove an installed package.
network_status r | Show Tailscale, routes and DNS at a glance.
network_list_nodes r | List the machines of the Tailscale network.
network_ping r host:str | Measure whether and how fast a machine answers.
network_list_routes r | List the reverse proxy's routes.
network_set_route ! domain:str target:str | Point a domain at a service in Caddy.
network_list_dns r zone:str | List the DNS records of a zone at Cloudflare.
network_set_dns ! zone:str name:str value:str | Set a DNS record at Cloudflare.
secrets_list r environment:str? | List the names of secrets, never their values.
secrets_set ! name:str environment:str | Store a secret, encrypted.
secrets_delete ! name:str environment:str | Delete a secret.
secrets_compare r left:str right:str | Compare which secrets two environments have.
secrets_import ! path:str environment:str | Import secrets from an .env file.
observe_metrics r name:str hours:int? | Show a metric over time.
observe_health r | Show the health of everything at a glance.
observe_list_alerts r state:str? | List the alerts that fire or fired.
observe_set_rule w name:str expression:str | Set the rule of an alert.
observe_list_incidents r state:str? | List the incidents.
observe_update_incident w incident:str state:str note:str? | Update an incident's state and notes.
observe_list_failures r hours:int? | List recent failures, grouped by cause.
payments_list_products r | List what is sold, with prices.
payments_checkout ! product:str customer:str | Make a checkout link for a product.
payments_portal w customer:str | Make a link to a customer's billing portal.
payments_list_subscriptions r customer:str? | List the subscriptions.
discord_list_servers r | List the Discord servers that Jarvis is in.
discord_send ! channel:str text:str | Send a message to a Discord channel.
discord_get_settings r server:str | Show a Discord server's bot settings.
discord_set_settings w server:str welcome:str? | Change welcome, roles and moderation of a Discord server.
discord_moderate ! server:str member:str action:str | Warn, mute, kick or ban a Discord member.
streams_status r | Show whether the channels are live, and their viewers.
streams_post ! text:str platforms:str? | Post to Twitch, YouTube and Kick in one call.
streams_schedule w text:str at:str | Schedule a post on the streaming platforms.
streams_list_posts r limit:int? | List the posts and scheduled posts.
streams_set_alerts w kind:str text:str | Set what an alert on stream says.
streams_set_commands w command:str answer:str | Set a chat command and its answer.
home_list r area:str? | List the devices of the house.
home_get r device:str | Show one device's state.
home_set w device:str state:str | Switch or set a device of the house.
home_now_playing r | Show what Plex and Spotify play now.
home_play w what:str where:str? | Play music or a film.
games_create_project w name:str engine:str | Create a game project for Godot, Unity or Unreal.
games_list_projects r | List the game projects.
games_generate_asset w project:str kind:str prompt:str | Generate a sprite, texture, character or tileset.
games_list_assets r project:str | List a game project's assets.
games_export r project:str format:str? | Export a game project's assets.
xr_make_maps w texture:str | Make normal, height, AO and roughness maps from a texture.
xr_unwrap w model:str | Unwrap a 3D model's UV coordinates.
xr_build_asset w model:str format:str? | Build a GLB or USDZ asset.
xr_capture_motion w video:str | Turn a video into a motion capture file.
xr_check r asset:str platform:str | Check an asset against a headset's limits.
xr_export w asset:str platform:str | Export an asset for Quest, SteamVR, Vision Pro or WebXR.
xr_list_materials r | List the materials.
sites_create w name:str description:str | Create a website from a description.
sites_edit w site:str change:str | Change a website as described.
sites_preview r site:str | Show a website before it is published.
sites_publish ! site:str domain:str? | Publish a website.
sync_save w key:str value:str | Save progress of an application.
sync_get r key:str | Get saved progress.
sync_clear w key:str | Clear saved progress.
sync_upload_url w name:str | Make a link to upload an asset to.
sync_list_assets r | List uploaded assets.
agents_list r | List the agents and what they may use.
agents_create w name:str purpose:str | Create an agent.
agents_update w name:str purpose:str? | Change an agent.
agents_delete ! name:str | Delete an agent.
agents_run w name:str task:str | Let an agent do a task now.
agents_schedule w name:str cron:str task:str | Let an agent do a task on a schedule.
agents_list_runs r name:str? | List what agents did.
workflows_list r | List the workflows.
workflows_create w name:str steps:str | Create a workflow of named steps.
workflows_run w name:str | Run a workflow.
workflows_get r name:str | Show a workflow with its last run.
"""
_TYPES: dict[str, type] = {"str": str, "int": int, "float": float}
_EFFECTS = {"r": Effect.READ, "w": Effect.WRITE, "!": Effect.DESTRUCTIVE}


class Ack(Result):
    """What every planned tool returns here."""

    tool: str
    text: str = "The GPU is idle, 11.2 of 12 GB are free, nothing is loaded."


def registry(size: int | None = SIZE) -> Registry:
    """Return the registered tools, filled up to `size` with planned ones, or with all of them.

    Those of containers are always among them, because the scripted requests ask for one.
    """
    real = Registry.discover("tools", "graphs")
    planned = [_tool(line) for line in _PLANNED.strip().splitlines()]
    more = [tool for tool in planned if tool.name not in real]
    if size is not None:
        assert len(real) + len(more) >= size, f"only {len(real)} registered, {len(more)} planned"
        more.sort(key=lambda tool: tool.feature != "containers")
        asked = sum(tool.feature == "containers" for tool in more)
        more = more[: max(size - len(real), asked)]
    about = {tool.feature: f"{tool.feature.title()}: {tool.summary}" for tool in reversed(more)}
    return Registry([*real, *more], {**about, **real.about})


def _tool(line: str) -> AnyTool:
    head, _, description = line.partition(" | ")
    name, effect, *parameters = head.split()
    feature = name.partition("_")[0]
    model = _input(name, parameters)
    described = description.rstrip(".")

    async def run(ctx: Context, **_: Any) -> Ack:
        return Ack(tool=name)

    kind = _EFFECTS[effect]
    changes = kind is not Effect.READ
    return Tool(
        name=name,
        feature=feature,
        description=description,
        permission=f"{feature}:{'write' if changes else 'read'}",
        effect=kind,
        kind=EffectKind.IDEMPOTENT,
        audience=Audience.EVERYONE,
        selectors=dict.fromkeys(list(model.model_fields)[:1], Kind.WORDS) if changes else {},
        outside=False,
        confirm=False,
        timeout=30.0,
        rest=None,
        says=(),
        examples=(described.lower(), f"{name.replace('_', ' ')}"),
        input_model=model,
        output_model=Ack,
        fn=run,
    )


def _input(name: str, parameters: list[str]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for text in parameters:
        parameter, _, kind = text.partition(":")
        optional = kind.endswith("?")
        base: Any = _TYPES[kind.rstrip("?")]
        said = f"The {parameter.replace('_', ' ')} of {name.replace('_', ' ')}"
        fields[parameter] = (
            (base | None, Field(None, description=said))
            if optional
            else (base, Field(description=said))
        )
    return create_model(f"{name}_input", __config__=ConfigDict(extra="forbid"), **fields)

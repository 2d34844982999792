"""Replicas of the service behind Ray Serve.

pip install 'nrpurify[serve]' 'ray[serve]'
serve run examples.ray_serve:app        # from the folder above, then POST /v1/purify on port 8000

Each replica has its own models, queue and limits; Ray Serve spreads requests over them and starts
more while requests wait.
"""

from ray import serve

from nrpurify.serving import ServeSettings, create_app

SETTINGS = ServeSettings(purifiers={"fast": "fast"}, victims={}, attack=False)


@serve.deployment(
    max_ongoing_requests=SETTINGS.places,
    autoscaling_config={"min_replicas": 2, "max_replicas": 8, "target_ongoing_requests": 2},
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress(lambda: create_app(SETTINGS))
class Purifiers:
    """The application of `nrpurify serve`, without the page's attack."""


app = Purifiers.bind()

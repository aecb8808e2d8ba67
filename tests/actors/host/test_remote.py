import pickle

from ray import cloudpickle

from parquedb.actors.host.namespace_actor import NamespaceActor
from parquedb.actors.host.remote import RemoteNamespaceActor, SentNamespaceActor


def test_ray_sends_the_name_of_the_class_and_nothing_of_what_is_in_it() -> None:
    sent = cloudpickle.dumps(RemoteNamespaceActor.__ray_metadata__.modified_class)
    assert b"execute" not in sent
    assert len(sent) < 100
    assert pickle.loads(sent) is SentNamespaceActor
    assert issubclass(SentNamespaceActor, NamespaceActor)


def test_a_later_version_finds_the_class_where_this_one_names_it() -> None:
    # Owners of this version are started, and started again, by clients of any other: the name is for ever.
    assert (SentNamespaceActor.__module__, SentNamespaceActor.__qualname__) == (
        "parquedb.actors.host.remote",
        "SentNamespaceActor",
    )
    # A process that receives the class sets its module to the one of the class that it was made of.
    assert vars(SentNamespaceActor)["__ray_actor_class__"].__module__ == SentNamespaceActor.__module__

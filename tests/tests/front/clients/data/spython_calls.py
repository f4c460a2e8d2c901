from spython.main import Client

image = "IMAGE"
print(Client.execute(image, ["python3", "-c", "print(6 * 7)"]).strip())
print(Client.inspect(image)["attributes"]["labels"]["org.label-schema.schema-version"])
print(Client.execute(image, ["printenv", "TOLD"], options=["--env", "TOLD=yes"]).strip())
instance = Client.instance(image, name="spy", quiet=True)
print([one.name for one in Client.instances(quiet=True)])
print(Client.execute(instance, ["sh", "-c", "echo inside"]).strip())
instance.stop()
print(Client.instances(quiet=True))

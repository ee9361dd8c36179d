namespace SorsaOrt.Artifacts;

/// <summary>How much of a folder is checked when it is opened.</summary>
public enum Verification
{
    /// <summary>Manifest, and every file's presence and size.</summary>
    Sizes,
    /// <summary>Also every file's checksum: any flipped bit is found.</summary>
    Full,
}

/// <summary>An artifact folder whose manifest and files have been checked.</summary>
public sealed class ArtifactSet
{
    private const string Advice = "build the artifacts again with sorsa build-artifacts.";

    private ArtifactSet(string folder, Manifest manifest, string hash)
    {
        Folder = folder;
        Manifest = manifest;
        Hash = hash;
    }

    /// <summary>Full path of the folder.</summary>
    public string Folder { get; }

    /// <summary>What it holds.</summary>
    public Manifest Manifest { get; }

    /// <summary>SHA-256 of manifest.json, and so of everything in the folder: what checkpoints refer to.</summary>
    public string Hash { get; }

    /// <summary>Opens a folder and checks it.</summary>
    /// <exception cref="ArtifactMismatchException">Something is missing, damaged, cut, exchanged or of another version; the file is named.</exception>
    public static ArtifactSet Open(string folder, Verification verify)
    {
        string full = Path.GetFullPath(folder);
        if (!Directory.Exists(full))
            throw new ArtifactMismatchException(full, $"{Text.Quote(full)} is not a folder of artifacts: {(File.Exists(full) ? "it is a file" : "it does not exist")}; {Advice}");
        string path = Path.Combine(full, ArtifactFiles.Manifest);
        (Manifest manifest, byte[] bytes) = SealedJson.Read<Manifest>(path, Manifest.CurrentVersion, Advice);
        ManifestCheck.Check(path, manifest);
        ListedFiles.Check(full, manifest.Files, verify, Advice);
        return new ArtifactSet(full, manifest, FileDigest.Of(bytes).Sha256);
    }

    /// <summary>Writes manifest.json over the files of a staged folder and commits it.</summary>
    /// <param name="folder">Holds every other file already.</param>
    /// <param name="manifest">Its <see cref="Manifest.Files"/> is filled in here.</param>
    public static ArtifactSet Write(StagedFolder folder, Manifest manifest)
    {
        Manifest complete = manifest with { Files = folder.Complete() };
        ManifestCheck.Check(Path.Combine(folder.FinalPath, ArtifactFiles.Manifest), complete);
        byte[] bytes = SealedJson.Serialize(complete);
        folder.Write(ArtifactFiles.Manifest, bytes);
        folder.Commit();
        return new ArtifactSet(folder.FinalPath, complete, FileDigest.Of(bytes).Sha256);
    }

    /// <summary>True for a path below the folder, whether or not something stands there.</summary>
    public bool Contains(string path) =>
        Path.GetFullPath(path).StartsWith(Path.TrimEndingDirectorySeparator(Folder) + Path.DirectorySeparatorChar, StringComparison.Ordinal);

    /// <summary>True where the folder holds the file.</summary>
    public bool Has(string name) => Manifest.Files.Any(f => f.Path == name);

    /// <summary>Full path of one of the files the manifest lists.</summary>
    /// <exception cref="ArtifactMismatchException">The manifest does not list it.</exception>
    public string PathOf(string name) => Has(name) ? RelativePath.Below(Folder, name)
        : throw new ArtifactMismatchException(Path.Combine(Folder, name), $"{Text.Quote(Folder)} holds no {Text.Quote(name)}; {Advice}");

    /// <summary>Opens the parameters as built, checked against the manifest.</summary>
    public SafetensorsReader OpenParameters()
    {
        SafetensorsReader reader = SafetensorsReader.Open(PathOf(ArtifactFiles.Parameters));
        try
        {
            ParameterFile.Check(reader, Manifest.Parameters, "");
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }
}

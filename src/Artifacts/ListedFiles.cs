namespace SorsaOrt.Artifacts;

/// <summary>Checks files against the list that a manifest or checkpoint keeps of them. Files not listed are never read.</summary>
internal static class ListedFiles
{
    public static void Check(string folder, IReadOnlyList<FileEntry> files, Verification verify, string advice)
    {
        foreach (FileEntry file in files)
        {
            string path = RelativePath.Below(folder, file.Path);
            if (!File.Exists(path))
                throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is missing; {advice}");
            long size;
            using (FileStream stream = RegularFile.OpenRead(path))
                size = stream.Length;
            if (size != file.Size)
                throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is damaged: it holds {size} bytes instead of {file.Size}; {advice}");
        }
        if (verify == Verification.Sizes)
            return;
        FileEntry? bad = FirstDamaged(folder, files);
        if (bad is not null)
        {
            string path = RelativePath.Below(folder, bad.Path);
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is damaged or belongs elsewhere: its content does not match its checksum; {advice}");
        }
    }

    private static FileEntry? FirstDamaged(string folder, IReadOnlyList<FileEntry> files)
    {
        try
        {
            return files.AsParallel().AsOrdered()
                .FirstOrDefault(file => FileDigest.Of(RelativePath.Below(folder, file.Path)) != new FileDigest(file.Size, file.Sha256));
        }
        catch (AggregateException e)
        {
            throw new IOException(e.InnerExceptions[0].Message, e);
        }
    }
}

using Xunit;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>Damages a folder in every way of a family and asks that opening it is refused, naming the file.</summary>
internal static class Damage
{
    public static void EveryBit(string folder, Func<object> open)
    {
        int flips = 0;
        foreach ((string name, byte[] good) in SmallArtifacts.Contents(folder))
        {
            string path = Path.Combine(folder, name);
            using FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            for (int bit = 0; bit < good.Length * 8; bit++, flips++)
            {
                RandomAccess.Write(file.SafeFileHandle, [(byte)(good[bit / 8] ^ (1 << (bit % 8)))], bit / 8);
                Refused(name, $"bit {bit} of {name}", open);
                RandomAccess.Write(file.SafeFileHandle, [good[bit / 8]], bit / 8);
            }
        }
        Assert.InRange(flips, 10_000, 1_000_000);
        (open() as IDisposable)?.Dispose();
    }

    public static void EveryFile(string folder, Func<object> open)
    {
        Dictionary<string, byte[]> all = SmallArtifacts.Contents(folder);
        foreach ((string name, byte[] good) in all)
        {
            string path = Path.Combine(folder, name);
            foreach (byte[] bad in (byte[][])[good[..(good.Length / 2)], good[..^1], [], [.. good, .. new byte[64]], new byte[good.Length]])
            {
                File.WriteAllBytes(path, bad);
                Refused(name, $"{name} of {bad.Length} bytes", open);
            }
            File.Delete(path);
            Refused(name, $"{name} deleted", open);
            foreach (string other in all.Keys.Where(other => other != name))
            {
                File.WriteAllBytes(path, all[other]);
                File.WriteAllBytes(Path.Combine(folder, other), good);
                Assert.ThrowsAny<ArtifactMismatchException>(open);
                File.WriteAllBytes(Path.Combine(folder, other), all[other]);
            }
            File.WriteAllBytes(path, good);
        }
        (open() as IDisposable)?.Dispose();
    }

    private static void Refused(string name, string what, Func<object> open)
    {
        try
        {
            (open() as IDisposable)?.Dispose();
        }
        catch (ArtifactMismatchException e)
        {
            if (!e.Message.Contains(name, StringComparison.Ordinal))
                Assert.Fail($"{what}: not named in: {e.Message}");
            return;
        }
        Assert.Fail($"{what}: not noticed");
    }
}
